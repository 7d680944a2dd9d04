"""After validations a sheet of images: what there is in them, what the network finds, and where these differ."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, isnan
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from dcnrun.config.schema import TrainerConfig
from dcnrun.data.pictures import short_name, shown_colours
from dcnrun.data.sample import Size
from dcnrun.drawing.found import Picture, font
from dcnrun.drawing.side_by_side import difference, sheet
from dcnrun.runs import RunFolder, replacing
from dcnrun.scores import PerImage, as_percent
from dcnrun.tasks.found import DEFAULT_SCORE, Found
from dcnrun.tasks.task import BatchT, PredictionT, SampleT
from dcnrun.training.validation import Inference, on_device

MOST_SHEETS = 20
"""Sheets of a run; of more validations so many have one, evenly, the last among them."""
_PANEL_SIDE = 512
_QUALITY = 90


def has_sheet(step: int, trainer: TrainerConfig) -> bool:
    """Return whether the validation at a step has a sheet."""
    number, validations = ceil(step / trainer.eval_every), ceil(trainer.steps / trainer.eval_every)
    before, so_far = ((each * MOST_SHEETS) // validations for each in (number - 1, number))
    return trainer.pictures > 0 and so_far > before


def write_pictures(
    inference: Inference[SampleT, BatchT, PredictionT], images: PerImage, step: int, folder: RunFolder
) -> Path | None:
    """Write the sheet of a validation, pictures/step-000250.jpg, and return its path; None where the task draws nothing.

    Args:
        inference: the network and its validation images.
        images: the results on each of them.
        step: of the network.
        folder: the run's.
    """
    if not inference.task.traits.formats:
        return None
    parts = [
        _titled(_sheet_of(look_at(inference, int(inference.val_order[index])), inference.val_set.classes), title)
        for index, title in _chosen(images, inference.config.trainer.pictures, inference.config.seed)
    ]
    whole = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    path = folder.pictures / f"step-{step:06d}.jpg"
    with replacing(path) as beside:
        whole.save(beside, "JPEG", quality=_QUALITY)
    return path


def _chosen(images: PerImage, each: int, seed: int) -> Iterator[tuple[int, str]]:
    """Yield images, by their index in the results, and titles: any images, the same at every validation of a seed, then the best and the worst of this one."""
    metric = images.metrics[0]
    scores = images.by_image(metric)
    by_score = [index for index in np.argsort(scores, kind="stable").tolist() if not isnan(scores[index])]
    any_image = np.random.default_rng(seed).permutation(len(images.names))[:each].tolist()
    worst, best = by_score[:each], by_score[::-1][:each]
    for kind, indices in (("any", sorted(any_image)), ("best", best), ("worst", worst)):
        for index in indices:
            score = as_percent(float(scores[index]))
            yield index, f"{kind}: {short_name(images.names[index])}, {metric} {score}"


@dataclass(frozen=True)
class Look:
    """A validation image, what there is in it, and what a network finds."""

    picture: Picture
    truth: Found
    found: Found

    def where_there_is_truth(self, classes: int) -> Found:
        """Return what was found without what is neither right nor wrong: pixels that the truth has none of so many classes for."""
        if self.found.classes is None or self.truth.classes is None:
            return self.found
        return replace(
            self.found, classes=np.where(self.truth.classes < classes, self.found.classes, self.truth.classes)
        )


def look_at(inference: Inference[SampleT, BatchT, PredictionT], index: int) -> Look:
    """Return the validation image of an index, and what the network finds in it."""
    task, config = inference.task, inference.config
    sample = inference.val_set[index]
    batch = task.samples.evaluation(config.data).batch_of_one(sample, index)
    network, was_training = inference.evaluated, inference.evaluated.training
    network.eval()
    with torch.inference_mode(), inference.fabric.autocast():
        (prediction,) = task.predict(network, on_device(batch, inference.fabric, config))
    network.train(was_training)
    (truth,) = task.truth(batch)
    found = task.found(prediction, Size(*truth.size), DEFAULT_SCORE)
    return Look(shown_colours(sample["image"].numpy()), truth, found)


def _sheet_of(look: Look, classes: Sequence[str]) -> Image.Image:
    """Return an image, what there is in it, what the network finds, and the difference, in a row."""
    found, truth = look.found, look.truth
    names = ("truth", f"network, {DEFAULT_SCORE:g} or surer" if found.objects is not None else "network")
    differs = difference([truth, look.where_there_is_truth(len(classes))])
    return sheet(look.picture, names, [truth, found], differs, classes, columns=4, side=_PANEL_SIDE)


def _titled(picture: Image.Image, title: str) -> Image.Image:
    """Return a picture with a title above it."""
    size = max(14, picture.width // 100)
    result = Image.new("RGB", (picture.width, picture.height + 2 * size), "white")
    result.paste(picture, (0, 2 * size))
    ImageDraw.Draw(result).text((size // 2, size), title, fill="black", font=font(size), anchor="lm")
    return result
