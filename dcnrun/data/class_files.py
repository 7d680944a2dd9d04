"""Masks that come as a file for each class, as of lesions or of instruments: IDRiD, DDR, Agriculture-Vision, EndoVis 2017."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torchvision.tv_tensors import Mask

from dcnrun.config.schema import FolderConfig
from dcnrun.data.files import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    existing_root,
    first_few,
    image_size,
    read_bytes,
    read_image,
    read_mask,
    read_names,
    require_files,
    require_names,
    require_same_size,
)
from dcnrun.data.layouts import Layout, images_by_name, places_of
from dcnrun.data.mask_batches import SegmentationDataset
from dcnrun.data.mask_names import files_in, shortened
from dcnrun.data.sample import Rule, Sample, Split
from dcnrun.data.splits import named_split, shared
from dcnrun.errors import DataError, UsageError

CLASS = "CLASS"
"""Stands in data.masks or data.mask_suffix for the name of each class but the first, the background."""


def has_class_files(config: FolderConfig) -> bool:
    """Whether masks are a file for each class."""
    return CLASS in config.masks or CLASS in (config.mask_suffix or "")


def rules(config: FolderConfig) -> Iterator[Rule]:
    """Yield the rules that hold beside those of other masks."""
    if not has_class_files(config):
        return
    for key, value in (("mask_values", config.mask_values), ("colours", config.colours)):
        yield (
            key,
            not value,
            f"[]: with {CLASS} in data.masks or data.mask_suffix, whatever isn't 0 in a file is of its class",
        )
    yield "ignore_label", config.ignore_label is None, f"null with {CLASS} in data.masks or data.mask_suffix"
    yield "nearest_class", not config.nearest_class, f"false with {CLASS} in data.masks or data.mask_suffix"


class _Entry(NamedTuple):
    """An image and its files of classes."""

    name: str
    image: Path
    files: dict[int, Path]
    """By the class, in the order of the classes."""


class ClassFilesDataset(SegmentationDataset):
    """Images with a file for each class that they show: what isn't 0 there is of the class; of several classes the last counts.

    An image without a file of a class doesn't show it; pixels of no class are the first one, the background.

        root/images/train/a.jpg
        root/masks/train/exudates/a.png          (data.masks=masks/SPLIT/CLASS, data.classes=[background,exudates,...])
    """

    def __init__(self, config: FolderConfig, split: Split) -> None:
        """UsageError or DataError where images or files of classes are not there."""
        self.classes = tuple(config.classes)
        self._entries, self.notes = _read(config, named_split(split, config))
        if config.val_share:
            contents = [set(entry.files) for entry in self._entries]
            self._entries, said = shared(split, config, self._entries, contents)
            self.notes = [*said, *self.notes]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Sample:
        entry = self._entries[index]
        image = read_image(entry.image, self.bands)
        mask = _painted(entry, (image.shape[1], image.shape[2]))
        return {"image": image, "mask": mask, "name": entry.name}

    def mask(self, index: int) -> Mask:
        """Read the mask of the sample at `index`, and of its image no more than the size."""
        entry = self._entries[index]
        size = image_size(entry.image)
        return self[index]["mask"] if size is None else _painted(entry, size)

    def name(self, index: int) -> str:
        """Return the name of the sample at `index`, without reading it."""
        return self._entries[index].name

    def file(self, index: int) -> Path:
        """Return the image's file."""
        return self._entries[index].image

    def label_content(self, index: int) -> bytes:
        """Return the bytes of the files of classes; none where one can't be read, which is said where the mask is."""
        try:
            return b"".join(bytes([number]) + read_bytes(file) for number, file in self._entries[index].files.items())
        except OSError:
            return b""

    def verify(self) -> None:
        """DataError unless every sample has a name of its own and all images are there."""
        require_names(entry.name for entry in self._entries)
        require_files([entry.image for entry in self._entries], "image")

    def require_every_class(self) -> None:
        """Raise DataError if there is no file of some class."""
        there = {number for entry in self._entries for number in entry.files}
        absent = [repr(name) for number, name in enumerate(self.classes) if number and number not in there]
        if absent:
            raise DataError(f"no training image has a file of {first_few(absent)}")


def _painted(entry: _Entry, size: tuple[int, int]) -> Mask:
    """Return the class of each pixel of an image of a size (height, width); DataError where a file is of another or no mask of one class."""
    painted = np.zeros(size, np.uint8)
    for number, file in entry.files.items():
        values, _ = read_mask(file)
        require_same_size(file, values.shape, entry.image, size)
        if len(found := np.unique(values[values > 0])) > 1:
            raise DataError(
                f"{file}: it holds the values {first_few([str(value) for value in found])} beside 0; expected 0 and one other, the pixels of a class"
            )
        painted[values > 0] = number
    return Mask(torch.from_numpy(painted))


def _read(config: FolderConfig, split: Split) -> tuple[list[_Entry], list[str]]:
    """Return the images that data.train or data.val names with their files of classes, and notes."""
    root = existing_root(config, f"{config.images} and {config.masks}")
    part = config.train if split == "train" else config.val
    is_list = part.endswith(".txt")
    places = [(place, folder) for place, (folder, _) in _places(config, root, part, config.masks).items()]
    images = {
        str(Path(place, name)): file
        for place, folder in places
        for name, file in images_by_name(folder, {"."}, set()).items()
    }
    if not images:
        where = first_few([str(folder) for _, folder in places]) or config.images
        raise UsageError(
            f"data.{split}={part} has no images in {where}; expected files ending in {' '.join(IMAGE_SUFFIXES)}"
        )
    found = {number: _files_of(config, root, number, part, images) for number in range(1, len(config.classes))}
    if not any(found.values()):
        raise UsageError(
            f"data.{split}={part}: no image has a file of a class; looked for {first_few([repr(name) for name in config.classes[1:]])} in"
            f" data.masks={config.masks} with data.mask_suffix={config.mask_suffix}"
        )
    names = _listed(root / part, images) if is_list else sorted(images)
    entries = [
        _Entry(name, images[name], {number: files[name] for number, files in found.items() if name in files})
        for name in names
    ]
    bare = [entry.name for entry in entries if not entry.files]
    notes = (
        [f"{len(bare)} of {len(entries)} images have no file of any class, such as {bare[0]}: all background"]
        if bare
        else []
    )
    return entries, notes


def _places(config: FolderConfig, root: Path, part: str, masks: str) -> dict[str, tuple[Path, Path]]:
    return places_of(root, Layout(config.images, masks), "." if part.endswith(".txt") else part)


def _listed(file: Path, images: Mapping[str, Path]) -> list[str]:
    """Return the images that a list names, with or without folders and the endings of their files; DataError for names of none."""
    names = read_names(file)
    called: dict[str, list[str]] = {}
    for name, path in images.items():
        for text in {name, f"{name}{path.suffix}", path.stem, path.name}:
            called.setdefault(text, []).append(name)
    if absent := [name for name in names if len(called.get(name, ())) != 1]:
        raise DataError(
            f"{len(absent)} of {len(names)} names in {file} are not those of one image: {first_few(absent)}"
        )
    return [called[name][0] for name in names]


def _files_of(config: FolderConfig, root: Path, number: int, part: str, images: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files of a class by their images' names.

    They are called as their images, with data.mask_suffix after that or, where that is null, with any word; DataError where two are.
    """
    name = config.classes[number]
    suffix = None if config.mask_suffix is None else config.mask_suffix.replace(CLASS, name)
    found: dict[str, Path] = {}
    for place, (_, folder) in _places(config, root, part, config.masks.replace(CLASS, name)).items():
        for file in files_in(folder, MASK_SUFFIXES):
            for image in _images_that(str(Path(place, file.stem)), suffix, images):
                if image in found:
                    raise DataError(
                        f"{file}: another file is of class {name!r} in {image}, {found[image]}; expected one of them"
                    )
                found[image] = file
    return found


def _images_that(stem: str, suffix: str | None, images: Mapping[str, Path]) -> Sequence[str]:
    """Return the image that a file of a class is of, if there is one: of several the one with the longest name."""
    if suffix is not None:
        name = stem.removesuffix(suffix)
        return [name] if stem.endswith(suffix) and name in images else []
    if stem in images:
        return [stem]
    return [name for name in shortened(stem) if name in images][-1:]
