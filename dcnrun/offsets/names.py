"""Names for runs and images, and for the files that are theirs."""

from collections.abc import Sequence

_LONGEST = 60  # characters of a file name: at most 240 bytes


def unique(names: Sequence[str]) -> list[str]:
    """The names, those that come again with a number."""
    found: list[str] = []
    for name in names:
        again = (f"{name} ({i})" for i in range(2, len(names) + 2))
        found.append(next(one for one in (name, *again) if one not in found))
    return found


def file_names(names: Sequence[str]) -> list[str]:
    """Names of folders that stay in their own and take no file's name, whatever the images and runs are called."""
    safe = ["".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:_LONGEST] or "-" for name in names]
    return [name.replace(" ", "-") for name in unique(safe)]
