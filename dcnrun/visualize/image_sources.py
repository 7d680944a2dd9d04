"""Images to show: validation images of the runs, or image files; and checks that several networks see them alike."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dcnrun.config.schema import DataConfig
from dcnrun.console import console
from dcnrun.data.box_batches import MULTIPLE
from dcnrun.data.files import IMAGE_SUFFIXES, read_image
from dcnrun.data.pictures import shown_colours
from dcnrun.data.sample import even_indices
from dcnrun.errors import UsageError
from dcnrun.visualize.dataset import Example
from dcnrun.visualize.load import LoadedRun
from dcnrun.visualize.pictures.panels import Picture

SHOWN = 3
"""The number of validation images that are shown if none are named."""
MOST_OF_A_FOLDER = 8
"""The most images that are shown of a directory."""

_LARGE = 4  # times the pixels of a validation image
_ROUNDING = 2  # steps of 256 by which normalising and back may change a pixel


@dataclass(frozen=True)
class ImageSource:
    """An image to show: a file, or by its name one of the validation images."""

    name: str
    file: Path | None = None

    def example(self, run: LoadedRun) -> Example:
        """Return the image as a run's network takes it; objects are known of validation images only."""
        if self.file is not None:
            return run.dataset.of_image(read_image(self.file, run.config.data.bands), self.name)
        try:
            return run.dataset[run.dataset.names.index(self.name)]
        except ValueError:
            raise UsageError(
                f"{run.folder.path} has no validation image {self.name}: runs on other data are compared on image files."
            ) from None


def image_sources(words: Sequence[str], validation_names: Sequence[str]) -> list[ImageSource]:
    """Return the images that words of the command line name: files, directories of images, and validation images.

    Without words some validation images are taken. UsageError for a word that is none of these.
    """
    if not words:
        return [ImageSource(validation_names[i]) for i in even_indices(len(validation_names), SHOWN)]
    found = []
    for word in words:
        path = Path(word)
        if path.exists():
            # file names are bytes: those that are not text would become surrogates, which can't be encoded
            files = _images_in(path) if path.is_dir() else [path]
            found += [ImageSource(os.fsencode(file.stem).decode(errors="replace"), file) for file in files]
        elif word in validation_names:
            found.append(ImageSource(word))
        else:
            raise UsageError(
                f"{word} is neither a run folder, an image file, a directory of images, nor the name of a validation "
                f"image (those are {validation_names[0]} and so on)."
            )
    return found


def _images_in(folder: Path) -> list[Path]:
    """Return at most MOST_OF_A_FOLDER image files of a directory, spread evenly over their names."""
    found = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not found:
        raise UsageError(f"{folder} is neither a run folder nor does it hold images ({', '.join(IMAGE_SUFFIXES)}).")
    if len(found) > MOST_OF_A_FOLDER:
        console.print(f"Shown are {MOST_OF_A_FOLDER} of {len(found)} images in {folder}.", markup=False)
    return [found[i] for i in even_indices(len(found), MOST_OF_A_FOLDER)]


def denormalised(example: Example, config: DataConfig) -> Picture:
    """Return the image that the network saw, with its padding, in the colours from before normalisation; other bands than RGB stretched."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
    colours = example.image.cpu() * std + mean
    if config.bands:
        return shown_colours(colours.numpy())
    picture: Picture = (255 * colours).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()
    return picture


def size_warning(example: Example, usual: Example) -> str | None:
    """Return a warning if an image is far larger than the `usual` one, a validation image of the run."""
    (height, width), (usual_height, usual_width) = example.objects.size, usual.objects.size
    if height * width <= _LARGE * usual_height * usual_width:
        return None
    return (
        f"{example.name} is seen as {height} x {width} pixels, validation images are ({usual.name}: {usual_height} x "
        f"{usual_width}). This takes long, and the network may not know objects that large: "
        f"data.eval_short_side={min(usual.objects.size)} makes it smaller."
    )


def require_same(name: str, examples: Mapping[str, Example], pictures: Mapping[str, Picture]) -> None:
    """Raise UsageError unless all runs, given by name, saw the same picture."""
    (first, picture), *others = pictures.items()
    for run, other in others:
        if other.shape != picture.shape:
            reason = "runs are compared where they prepare images alike (data.eval_short_side)."
            if examples[run].objects.size == examples[first].objects.size:
                reason = (
                    f"detectors pad images to multiples of {MULTIPLE} pixels. Show the runs one by one, or images "
                    "whose sides are such."
                )
            raise UsageError(
                f"{first} sees {name} as {picture.shape[0]} x {picture.shape[1]} pixels, {run} as {other.shape[0]} x "
                f"{other.shape[1]}: {reason}"
            )
        if np.abs(other.astype(int) - picture).max() > _ROUNDING:
            raise UsageError(
                f"{first} and {run} have different images called {name}: they are compared on image files."
            )
