"""Which files a folder has, as far as they are looked at to say what it is."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dcnrun.data.files import IMAGE_SUFFIXES, is_file, is_folder, is_text

Listing = Mapping[str, list[str]]
"""The names of the files in each folder, by the folder's path below the one looked at; that itself is ''."""

MOST_READ = 50
"""Files of a kind whose content is looked at."""
BEGINNING = 65536
"""Bytes of a file that tell what it is."""
_MOST_ENTRIES = 100_000


def list_files(folder: Path) -> Listing:
    """List the files in a folder and those below it, each once (links may lead in circles), and of large ones the first; hidden ones are left out."""
    found: dict[str, list[str]] = {}
    known: set[tuple[int, int]] = set()
    waiting, count = [""], 0
    while waiting and count < _MOST_ENTRIES:
        place = waiting.pop(0)
        try:
            status = (folder / place).stat()
            with os.scandir(folder / place) as entries:
                content = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in known:
            continue
        known.add((status.st_dev, status.st_ino))
        names = found.setdefault(place, [])
        for entry in content:
            count += 1
            if entry.name.startswith(".") or not is_text(entry.name):
                continue
            if is_folder(entry):
                waiting.append(f"{place}/{entry.name}".lstrip("/"))
            elif is_file(entry):
                names.append(entry.name)
    return found


def has_images(names: Sequence[str]) -> bool:
    """Whether some of these names are of images."""
    return any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names)


def first_files(listing: Listing, suffix: str) -> list[str]:
    """Return the first files with a suffix, from several folders."""
    by_folder = [
        [f"{place}/{n}".lstrip("/") for n in names if n.lower().endswith(suffix)] for place, names in listing.items()
    ]
    return [name for names in by_folder for name in names[:MOST_READ]][: 4 * MOST_READ]
