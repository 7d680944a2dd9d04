"""From the data settings to a data set."""

from collections.abc import Iterator
from typing import Literal

from dcnrun.config.schema import CityscapesConfig, DataConfig, FolderConfig, ShapesConfig, Voc2012Config
from dcnrun.data.cityscapes import SPLITS, CityscapesDataset
from dcnrun.data.folder import FolderDataset
from dcnrun.data.sample import SegmentationDataset
from dcnrun.data.shapes import ShapesDataset
from dcnrun.data.voc import IMAGE_SETS, Voc2012Dataset
from dcnrun.errors import UsageError

_SMALLEST_IMAGE = 16
_SMALLEST_RADIUS = 2
_MOST_LABELS = 255


def build_dataset(config: DataConfig, split: Literal["train", "val"]) -> SegmentationDataset:
    """The data set that `config` describes, by the class of `config`.

    UsageError if its root or layout is wrong, DataError if some of its files are missing.
    """
    match config:
        case ShapesConfig():
            return ShapesDataset(config, split)
        case FolderConfig():
            return FolderDataset(config, split)
        case Voc2012Config():
            return Voc2012Dataset(config, split)
        case CityscapesConfig():
            return CityscapesDataset(config, split)
        case _:
            raise UsageError(f"data.source={config.source} has no reader")


def problems(config: DataConfig) -> list[str]:
    """What is wrong with the values of the settings, a line each; the files are not looked at."""
    return [
        f"data.{key}={_as_typed(getattr(config, key))}: expected {expected}"
        for key, holds, expected in [*_common_rules(config), *_own_rules(config)]
        if not holds
    ]


def _as_typed(value: object) -> object:
    return "null" if value is None else value


_Rule = tuple[str, bool, str]
"""A setting, whether its value will do, and what is expected of it."""


def _common_rules(config: DataConfig) -> Iterator[_Rule]:
    yield "batch_size", config.batch_size >= 1, "at least 1"
    yield "eval_batch_size", config.eval_batch_size >= 1, "at least 1"
    yield "workers", config.workers >= 0, "0 or more"
    yield "crop_size", config.crop_size == 0 or config.crop_size >= _SMALLEST_IMAGE, f"0 or at least {_SMALLEST_IMAGE}"
    yield "scale_min", config.scale_min > 0, "a factor above 0"
    yield "scale_max", config.scale_max >= config.scale_min, f"at least data.scale_min={config.scale_min}"
    yield "flip", 0 <= config.flip <= 1, "a probability, 0 to 1"
    yield "vertical_flip", 0 <= config.vertical_flip <= 1, "a probability, 0 to 1"
    yield "color_jitter", 0 <= config.color_jitter <= 1, "0 to 1"
    yield "mean", len(config.mean) == 3 and all(0 <= value <= 1 for value in config.mean), "3 numbers, 0 to 1"
    yield "std", len(config.std) == 3 and all(value > 0 for value in config.std), "3 numbers above 0"


def _own_rules(config: DataConfig) -> Iterator[_Rule]:
    match config:
        case ShapesConfig():
            yield from _shapes_rules(config)
        case FolderConfig():
            yield from _folder_rules(config)
        case Voc2012Config():
            yield "root", config.root is not None, "the folder that holds VOCdevkit/VOC2012"
            yield "train", config.train in IMAGE_SETS, f"one of {', '.join(IMAGE_SETS)}"
            yield "val", config.val in IMAGE_SETS, f"one of {', '.join(IMAGE_SETS)}"
        case CityscapesConfig():
            yield "root", config.root is not None, "the folder that holds leftImg8bit and gtFine"
            yield "train", config.train in SPLITS, f"one of {', '.join(SPLITS)}"
            yield "val", config.val in SPLITS, f"one of {', '.join(SPLITS)}"


def _shapes_rules(config: ShapesConfig) -> Iterator[_Rule]:
    smallest = _SMALLEST_RADIUS / max(config.image_size, 1)
    yield "seed", config.seed >= 0, "0 or more"
    yield "image_size", config.image_size >= _SMALLEST_IMAGE, f"at least {_SMALLEST_IMAGE}"
    yield "train_images", config.train_images >= 1, "at least 1"
    yield "val_images", config.val_images >= 1, "at least 1"
    yield "objects_min", config.objects_min >= 0, "0 or more"
    yield (
        "objects_max",
        config.objects_min <= config.objects_max <= _MOST_LABELS,
        f"data.objects_min={config.objects_min} to {_MOST_LABELS}",
    )
    yield (
        "object_scale_min",
        config.object_scale_min >= smallest,
        f"at least {smallest:.3g}, {_SMALLEST_RADIUS} pixels at data.image_size={config.image_size}",
    )
    yield (
        "object_scale_max",
        config.object_scale_min <= config.object_scale_max <= 0.5,
        f"data.object_scale_min={config.object_scale_min} to 0.5",
    )
    yield "rotation", 0 <= config.rotation <= 180, "0 to 180 degrees"
    yield "warp", 0 <= config.warp <= 1, "0 to 1"
    yield "distractors", config.distractors >= 0, "0 or more"
    yield "texture", 0 <= config.texture <= 1, "0 to 1"


def _folder_rules(config: FolderConfig) -> Iterator[_Rule]:
    count = len(config.classes)
    yield "root", config.root is not None, "the folder that holds the images and masks"
    yield "classes", 2 <= count <= _MOST_LABELS, f"2 to {_MOST_LABELS} names in the order of the mask's values"
    yield "classes", len(set(config.classes)) == count, "every name once"
    yield "ignore_label", count <= config.ignore_label <= 255, f"a value that is no class, {count} to 255"
