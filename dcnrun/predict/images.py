"""The images to predict on: files, all files of folders, or those of a run's data set; and the names of their results."""

import mimetypes
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from torchvision.tv_tensors import Image

from dcnrun.console import console, printable
from dcnrun.data import LabelledDataset
from dcnrun.data.files import IMAGE_SUFFIXES, read_image, walk
from dcnrun.errors import UsageError
from dcnrun.predict.results import DESCRIPTION, JOURNAL, Stamp


@dataclass(frozen=True)
class ImageInput:
    """One image to predict on."""

    key: str
    """What it is called: its file relative to the folder of all, or its name in the data set."""
    result: str
    """Where its results stand in each folder of them, without an ending: unlike any other's, and never outside."""
    read: Callable[[tuple[int, ...]], Image]
    """Reads these bands of it; DataError where that can't be done."""
    file_name: str
    """What files for other tools call it: with the ending of its file, which names in a data set may lack."""
    stamp: Stamp | None = None
    """What tells its file from another that takes its place; None where it is in none."""
    image_id: int | None = None
    """Its id in the data set, where it is of one."""


def images_in(words: Sequence[str], out: Path) -> tuple[Path, list[ImageInput]]:
    """Return the folder that holds all images which the words name, files or folders, and the images, in order of their names.

    Folders are searched through, but for `out`, folders of other predictions and what is hidden. A line is printed where they hold images
    of kinds that are not read. UsageError for a word that is neither, where there is no image,
    and for a folder that can't be read, whose images would be missing without a word.
    """
    out = out.resolve()
    files: dict[Path, None] = {}
    folders = []
    unread: Counter[str] = Counter()
    for word in words:
        path = Path.cwd() / os.path.normpath(word)
        if path.is_dir():
            if path.resolve() == out:
                raise UsageError(
                    f"--out {word} is the folder of the images themselves: give another, which may be inside it."
                )
            found = sorted(_below(path, out, unread))
            if not found:
                raise UsageError(f"{word} holds no images ({', '.join(IMAGE_SUFFIXES)}), nor do the folders in it.")
            files.update(dict.fromkeys(found))
            folders.append(path)
        elif path.exists():
            files[path] = None
            folders.append(path.parent)
        else:
            raise UsageError(
                f"{word} is not there: give run folders, image files or folders of images, or the word data for the images of the run."
            )
    root = Path(os.path.commonpath(folders))
    keys = sorted(str(file.relative_to(root)) for file in files)
    if unread:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(unread.items()))
        console.print(
            f"Left out are images of kinds that are not read: {printable(kinds)}", markup=False, soft_wrap=True
        )
    return root, [
        ImageInput(key, result, partial(read_image, root / key), key, _stamp(root / key))
        for key, result in zip(keys, result_names(keys), strict=True)
    ]


def images_of(datasets: Mapping[tuple[int, ...], LabelledDataset[Any, Any]]) -> list[ImageInput]:
    """Return the images of a data set, which was opened with each of the bands that are asked for; UsageError where those are others."""
    names = [[dataset.name(index) for index in range(len(dataset))] for dataset in datasets.values()]
    keys, dataset = names[0], next(iter(datasets.values()))
    if any(other != keys for other in names):
        raise UsageError(
            "The runs see other bands (data.bands), and of other images: give image files or a folder in place of the word data."
        )
    found = []
    for index, (key, result) in enumerate(zip(keys, result_names(keys), strict=True)):
        file = dataset.file(index)
        ending, stamp = ("", None) if file is None else (file.suffix, _stamp(file))
        file_name = key if key.lower().endswith(IMAGE_SUFFIXES) else f"{key}{ending}"
        found.append(
            ImageInput(key, result, partial(_image_at, datasets, index), file_name, stamp, dataset.image_id(index))
        )
    return found


def _image_at(
    datasets: Mapping[tuple[int, ...], LabelledDataset[Any, Any]], index: int, bands: tuple[int, ...]
) -> Image:
    image: Image = datasets[bands][index]["image"]
    return image


def _stamp(file: Path) -> Stamp | None:
    try:
        state = file.stat()
    except OSError:  # said where the image is read
        return None
    return [state.st_size, state.st_mtime_ns]


def result_names(keys: Sequence[str]) -> list[str]:
    """Return the path of each image's results without an ending: its own without the ending of an image file.

    Where several would get the same, all keep their endings. What leads upwards or to the root is left out.
    """
    inside = ["/".join(part for part in key.split("/") if part not in ("", ".", "..")) or "image" for key in keys]
    bare = [_without_suffix(name) for name in inside]
    for names in ([n if count == 1 else whole for n, whole, count in _counted(bare, inside)], inside):
        if len(set(names)) == len(names):
            return names
    return [f"{name}-{number}" for number, name in enumerate(inside)]  # names of a data set that differ in .. alone


def _counted(bare: Sequence[str], whole: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    counts = Counter(bare)
    return ((name, all_of_it, counts[name]) for name, all_of_it in zip(bare, whole, strict=True))


def _without_suffix(name: str) -> str:
    suffix = PurePath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in IMAGE_SUFFIXES else name


def _below(folder: Path, out: Path, unread: Counter[str]) -> Iterator[Path]:
    """Yield the image files in a folder and those below it, without what is in `out` or in folders of other predictions.

    Images of other kinds are counted in `unread`, by the endings of their names.
    """
    of_predictions = [out]
    for place, names in walk(folder):
        if place != folder and {DESCRIPTION, JOURNAL} <= set(names):
            of_predictions.append(place.resolve())
        if any(place.resolve().is_relative_to(each) for each in of_predictions):
            continue
        for name in names:
            if name.lower().endswith(IMAGE_SUFFIXES):
                yield place / name
            elif (mimetypes.guess_type(name, strict=False)[0] or "").startswith("image/"):
                unread[PurePath(name).suffix.lower()] += 1
