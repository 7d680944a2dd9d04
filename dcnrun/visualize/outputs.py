"""The folders and files of `dcnrun visualize-offsets`: their names, and what earlier calls left in them."""

import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from dcnrun.errors import UsageError

RESULTS = ("offsets.html", "offsets.json", "offsets.csv", "offsets.npz", "sizes.png", "receptive_fields.json")
"""The files of a call and of each of its runs."""
VIEWS = ("points.png", "flow.png", "masks.png", "regions-*.png", "receptive_field.png")
"""The pictures of an image."""
_LONGEST_NAME = 60  # characters of a file name: at most 240 bytes


def delete_stale_outputs(results: Iterable[Path], views: Iterable[Path]) -> None:
    """Delete results in the first folders and pictures in the second, and nothing else."""
    for folders, names in ((results, RESULTS), (views, VIEWS)):
        for file in [file for folder in folders for file in _files(folder, names)]:
            file.unlink(missing_ok=True)


def folders_with_stale_outputs(results: Iterable[Path], written: Collection[Path]) -> list[Path]:
    """Return the folders inside those of results that contain outputs of an earlier call and are not written to now."""
    inside = (folder for parent in results if parent.is_dir() for folder in sorted(parent.iterdir()))
    return [folder for folder in inside if folder not in written and any(_files(folder, (*RESULTS, *VIEWS)))]


def _files(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    return (file for name in names for file in folder.glob(name) if file.is_file())


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the names, repeated ones with a number."""
    found: list[str] = []
    for name in names:
        again = (f"{name} ({i})" for i in range(2, len(names) + 2))
        found.append(next(one for one in (name, *again) if one not in found))
    return found


def folder_names(names: Sequence[str]) -> list[str]:
    """Return a safe folder name for each run or image, whatever it is called, that is unlike any file's name."""
    safe = ["".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:_LONGEST_NAME] or "-" for name in names]
    return [name.replace(" ", "-") for name in unique_names(safe)]


def writable_folder(folder: Path) -> Path:
    """Make the folder if it is missing; UsageError if nothing can be written to it, before anything is computed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"--out {folder} can't be written to: {error.strerror or error}.") from error
    return folder
