"""What earlier calls of `dcnrun visualize-offsets` left where this one writes: results of two calls look like those of one."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

RESULTS = ("offsets.html", "offsets.json", "offsets.csv", "offsets.npz", "sizes.png", "receptive_fields.json")
"""Names of the files of a call and of each of its runs."""
VIEWS = ("points.png", "flow.png", "masks.png", "regions-*.png", "receptive_field.png")
"""Names of the pictures of an image."""


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
