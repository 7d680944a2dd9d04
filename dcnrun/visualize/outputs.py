"""The folders and files of `dcnrun visualize-offsets`: their names, and what earlier calls left in them."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

RESULTS = ("offsets.html", "offsets.json", "offsets.csv", "offsets.npz", "sizes.png", "receptive_fields.json")
"""Names of the files of a call and of each of its runs."""
VIEWS = ("points.png", "flow.png", "masks.png", "regions-*.png", "receptive_field.png")
"""Names of the pictures of an image."""
_LONGEST_NAME = 60  # characters of a file name: at most 240 bytes


def clear(results: Iterable[Path], views: Iterable[Path]) -> None:
    """Delete the results and the pictures in these folders, and nothing else."""
    for folders, names in ((results, RESULTS), (views, VIEWS)):
        for file in [file for folder in folders for file in _files(folder, names)]:
            file.unlink(missing_ok=True)


def left(results: Iterable[Path], written: Collection[Path]) -> list[Path]:
    """The folders inside those of results that hold some of an earlier call, beside those that are written to now."""
    inside = (folder for parent in results if parent.is_dir() for folder in sorted(parent.iterdir()))
    return [folder for folder in inside if folder not in written and any(_files(folder, (*RESULTS, *VIEWS)))]


def _files(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    return (file for name in names for file in folder.glob(name) if file.is_file())


def unique(names: Sequence[str]) -> list[str]:
    """The names, those that come again with a number."""
    found: list[str] = []
    for name in names:
        again = (f"{name} ({i})" for i in range(2, len(names) + 2))
        found.append(next(one for one in (name, *again) if one not in found))
    return found


def file_names(names: Sequence[str]) -> list[str]:
    """Names of folders that stay in their own and take no file's name, whatever the images and runs are called."""
    safe = ["".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:_LONGEST_NAME] or "-" for name in names]
    return [name.replace(" ", "-") for name in unique(safe)]
