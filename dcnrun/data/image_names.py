"""Where the images of an annotation file are: where it says, or wherever a file of their name is.

Labelling servers write the path or the address that an image has with them, such as `/data/upload/3/1f2e3d4c-a.jpg`,
`s3://bucket/a.jpg` or `images\\a.jpg`; of those only the name is the user's own.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from dcnrun.data.files import first_few, require_below
from dcnrun.errors import DataError

_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of an image that is uploaded."""


def find_images(
    names: Sequence[str], folder: Path, root: Path, file: Path, may_leave: bool
) -> tuple[list[tuple[str, Path]], list[str]]:
    """Return a name and a path for each image that a file lists, and a note of those found by their name alone.

    Args:
        names: the images as the file has them.
        folder: where the images of the split are.
        root: data.root; whatever is found by its name alone is below it.
        file: the annotation file, for messages.
        may_leave: whether a path may lead out of both folders (data.allow_outside).
    """
    here = {entry.name for entry in os.scandir(folder)}  # Path.iterdir takes thrice the time
    indices: dict[Path, dict[str, list[Path]]] = {}
    found: list[tuple[str, Path]] = []
    by_name: dict[Path, str] = {}
    for name in names:
        path = folder / name
        if name not in here and not (_may_be_read(root, folder, name, file, may_leave) and path.is_file()):
            alone = _alone(name, [folder] if _is_plain(name) else [folder, root], indices, file)
            if alone is None:
                require_below(root, folder, name, file, may_leave)
            elif alone in by_name:
                raise DataError(
                    f"{file}: the images {by_name[alone]!r} and {name!r} would both be {alone}, the one file of that name;"
                    " expected a file for each, at its own path"
                )
            else:
                by_name[alone] = name
                path, base = alone, folder if alone.is_relative_to(folder) else root
                name = alone.relative_to(base).as_posix()
        found.append((name, path))
    return found, _notes(by_name, len(names), root)


def _notes(by_name: dict[Path, str], count: int, root: Path) -> list[str]:
    if not by_name:
        return []
    path, name = next(iter(by_name.items()))
    return [
        f"{len(by_name)} of {count} images are not where the file says and were found by their name alone, such as {name!r}:"
        f" {path.relative_to(root)} (a file at its full path below data.images takes precedence)"
    ]


def _is_plain(name: str) -> bool:
    return not re.search(r"[/\\]", name)


def _may_be_read(root: Path, folder: Path, name: str, file: Path, may_leave: bool) -> bool:
    try:
        require_below(root, folder, name, file, may_leave)
    except DataError:
        return False
    return True


def _alone(name: str, folders: Sequence[Path], indices: dict[Path, dict[str, list[Path]]], file: Path) -> Path | None:
    """Return the one file of an image's name below the first of the folders that has any; DataError if there are several."""
    for folder in folders:
        if folder not in indices:
            indices[folder] = _index(folder)
        for base in bare_names(name):
            alike = indices[folder].get(base.lower(), [])
            if len(paths := [path for path in alike if path.name == base] or alike) > 1:
                raise DataError(
                    f"{file}: the image {name!r} is not there, and several files are called {base}:"
                    f" {first_few([str(path) for path in paths])}; expected one, or data.images with the folder that is meant"
                )
            if paths:
                return paths[0]
    return None


def _index(folder: Path) -> dict[str, list[Path]]:
    """Return the files below a folder by their names in small letters; links to folders are not followed."""
    found: dict[str, list[Path]] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            found.setdefault(name.lower(), []).append(Path(place, name))
    return found


def bare_names(name: str) -> list[str]:
    """Return what a file may be called that is listed by its path or address elsewhere, the likeliest first."""
    text = name
    if "://" in name or "?" in name:
        try:
            address = urlsplit(name)
        except ValueError:
            return []
        text = unquote(parse_qs(address.query).get("d", [address.path])[0])
    bare = re.split(r"[/\\]", text)[-1]
    return [bare, _UPLOAD.sub("", bare, count=1)] if _UPLOAD.match(bare) else [bare]
