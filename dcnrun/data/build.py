"""From the data settings to a data set."""

from collections.abc import Iterator
from typing import Literal

from dcnrun.config.schema import (
    CityscapesConfig,
    CocoConfig,
    DataConfig,
    FolderConfig,
    ShapesConfig,
    Source,
    Voc2012Config,
    VocConfig,
)
from dcnrun.data.cityscapes import SPLITS, CityscapesDataset
from dcnrun.data.coco import CocoDataset
from dcnrun.data.folder import FolderDataset
from dcnrun.data.sample import BoxDataset, Labels, SegmentationDataset
from dcnrun.data.shapes import ShapesBoxDataset, ShapesDataset
from dcnrun.data.voc import IMAGE_SETS, Voc2012Dataset
from dcnrun.data.voc_boxes import VocBoxDataset
from dcnrun.errors import UsageError

_SMALLEST_IMAGE = 16
_SMALLEST_RADIUS = 2
_MOST_LABELS = 255

_MASKS: frozenset[Labels] = frozenset({"masks"})
_BOXES: frozenset[Labels] = frozenset({"boxes"})
_LABELS: dict[Source, frozenset[Labels]] = {
    Source.shapes: _MASKS | _BOXES,
    Source.folder: _MASKS,
    Source.voc2012: _MASKS,
    Source.cityscapes: _MASKS,
    Source.voc: _BOXES,
    Source.coco: _BOXES,
}
_CHOICES = {
    "masks": "shapes, nuclei, folder, voc2012 or cityscapes",
    "boxes": "shapes, treecrowns, nuclei_boxes, voc, voc2007, voc0712, coco or coco2017",
}


def labels_of(config: DataConfig) -> frozenset[Labels]:
    """The labels that a data set can give: "masks" for `build_dataset`, "boxes" for `build_box_dataset`."""
    return _LABELS[config.source]


def build_dataset(config: DataConfig, split: Literal["train", "val"]) -> SegmentationDataset:
    """The images and masks that `config` describes, by the class of `config`.

    UsageError if it has no masks, or its root or layout is wrong; DataError if some of its files are missing.
    """
    dataset = open_dataset(config, split)
    dataset.verify()
    return dataset


def build_box_dataset(config: DataConfig, split: Literal["train", "val"], *, masks: bool = False) -> BoxDataset:
    """The images and boxes that `config` describes, by the class of `config`; with masks of the objects if asked.

    UsageError if it has no boxes, or its root or layout is wrong; DataError if some of its files are missing, or if
    something is wrong with its boxes and the settings don't say otherwise.
    """
    dataset = open_box_dataset(config, split, masks=masks)
    dataset.verify()
    return dataset


def open_dataset(config: DataConfig, split: Literal["train", "val"]) -> SegmentationDataset:
    """The same as `build_dataset`, but whatever is wrong with files is left to be found."""
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
            raise _without(config, "masks")


def open_box_dataset(config: DataConfig, split: Literal["train", "val"], *, masks: bool = False) -> BoxDataset:
    """The same as `build_box_dataset`, but whatever is wrong with files is left to be found."""
    match config:
        case ShapesConfig():
            return ShapesBoxDataset(config, split, masks)
        case VocConfig():
            return VocBoxDataset(config, split)
        case CocoConfig():
            return CocoDataset(config, split, masks)
        case _:
            raise _without(config, "boxes")


def _without(config: DataConfig, labels: str) -> UsageError:
    return UsageError(f"data.source={config.source} has no {labels}; choose data={_CHOICES[labels]}")


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
    yield (
        "short_sides",
        all(side >= _SMALLEST_IMAGE for side in config.short_sides),
        f"sides of at least {_SMALLEST_IMAGE} pixels",
    )
    yield (
        "eval_short_side",
        config.eval_short_side == 0 or config.eval_short_side >= _SMALLEST_IMAGE,
        f"0 or at least {_SMALLEST_IMAGE}",
    )
    longest_short = max([config.eval_short_side, *config.short_sides])
    yield (
        "long_side_max",
        config.long_side_max == 0 or 0 < longest_short <= config.long_side_max,
        f"0, or at least the longest of data.short_sides and data.eval_short_side, {longest_short}"
        if longest_short
        else "0, as long as data.short_sides and data.eval_short_side don't resize",
    )
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
        case VocConfig():
            yield "root", config.root is not None, "the folder that holds VOCdevkit, or VOC2007 itself"
            yield "classes", len(set(config.classes)) == len(config.classes), "every name once"
            yield "train", _are_image_sets(config.train), _IMAGE_SETS_EXPECTED
            yield "val", _are_image_sets(config.val), _IMAGE_SETS_EXPECTED
        case CocoConfig():
            yield "root", config.root is not None, "the folder that holds the images and annotations"
            yield (
                "annotations",
                "SPLIT" in config.annotations,
                "a path with SPLIT in it, so that each split has its own",
            )


_IMAGE_SETS_EXPECTED = "one or more image sets such as VOC2007/trainval, each once"


def _are_image_sets(names: list[str]) -> bool:
    are_paths = all(folder and part for folder, _, part in (name.rpartition("/") for name in names))
    return bool(names) and are_paths and len(set(names)) == len(names)


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
