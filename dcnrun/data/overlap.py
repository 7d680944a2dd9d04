"""Images that are both trained on and validated on, so that scores say little about new images.

Files are compared by their places, then by their sizes, then by a part of their content, and only what is still alike is
read whole: of a set of photographs next to nothing is read.
"""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from dcnrun.config.schema import DataConfig, FilesConfig
from dcnrun.data.files import first_few
from dcnrun.data.sample import LabelledDataset
from dcnrun.errors import DataError

_PART = 4096
"""Bytes in the middle of a file that are compared first: where compressed pixels are, which hardly two images share."""


def require_apart(config: DataConfig, train_set: LabelledDataset[Any, Any], val_set: LabelledDataset[Any, Any]) -> None:
    """Raise DataError if validation images are training images too, unless data.allow_overlap says that they may be."""
    if not config.allow_overlap and (both := images_in_both(train_set, val_set)):
        could_share = isinstance(config, FilesConfig) and not config.val_share
        share = " (data.val_share=0.2 takes a share of data.train's)" if could_share else ""
        raise DataError(
            f"{in_words(config, both, len(val_set))}. Validate on other images{share}, or allow it with data.allow_overlap=true."
        )


def in_words(config: DataConfig, both: list[tuple[str, str]], total: int) -> str:
    """Say which of the validation images, of so many in all, are training images, and by which names."""
    names = [repr(val) if train == val else f"{val!r} (there {train!r})" for train, val in both]
    train, val = (getattr(config, split, None) for split in ("train", "val"))
    is_read = val is not None and not (isinstance(config, FilesConfig) and config.val_share)
    why = f"data.val={val} is data.train: " if is_read and train == val else ""
    return f"{why}{len(both)} of {total} validation images are training images too: {first_few(names)}"


def images_in_both(train_set: LabelledDataset[Any, Any], val_set: LabelledDataset[Any, Any]) -> list[tuple[str, str]]:
    """Return the names, in the training and in the validation set, of the images whose files are the same or hold the same."""
    train, val = _files(train_set), _files(val_set)
    places = {(file.stat.st_dev, file.stat.st_ino): index for index, file in train.items()}
    there = {
        index: places[place] for index, file in val.items() if (place := (file.stat.st_dev, file.stat.st_ino)) in places
    }
    there |= _copies(train, {index: file for index, file in val.items() if index not in there})
    return [(train_set.name(there[index]), val_set.name(index)) for index in sorted(there)]


class _File(NamedTuple):
    path: Path
    stat: os.stat_result


def _files(dataset: LabelledDataset[Any, Any]) -> dict[int, _File]:
    """Return the images' files by index; generated images have none, and what is not there is said where it is read."""
    files = {}
    for index in range(len(dataset)):
        if (path := dataset.file(index)) is not None:
            with suppress(OSError):
                files[index] = _File(path, path.stat())
    return files


def _copies(train: Mapping[int, _File], val: Mapping[int, _File]) -> dict[int, int]:
    """Return which file of `train` holds the same as one of `val`, by their indices."""
    seen: list[dict[int, tuple[int | bytes | None, ...]]]
    seen = [{index: (file.stat.st_size,) for index, file in files.items()} for files in (train, val)]
    for digest in (_digest_of_part, _digest_of_all):
        shared = set(seen[0].values()) & set(seen[1].values())
        seen = [
            {index: (*key, digest(files[index])) for index, key in keys.items() if key in shared}
            for keys, files in zip(seen, (train, val), strict=True)
        ]
    holders = {key: index for index, key in seen[0].items()}
    return {index: holders[key] for index, key in seen[1].items() if key in holders and None not in key}


def _digest_of_part(file: _File) -> bytes | None:
    return _digest(file.path, file.stat.st_size // 2, _PART)


def _digest_of_all(file: _File) -> bytes | None:
    return _digest(file.path, 0, file.stat.st_size)


def _digest(path: Path, start: int, length: int) -> bytes | None:
    """Return the digest of a part of a file; None where it can't be read."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return hashlib.blake2b(file.read(length)).digest()
    except OSError:
        return None
