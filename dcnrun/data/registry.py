"""Every source of data in one row: its settings, its readers and its rules; and from settings to a data set."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dcnrun.config import schema
from dcnrun.config.groups import LABELS_IN_WORDS, Labels, choices
from dcnrun.config.schema import DataConfig, FilesConfig, Source
from dcnrun.config.validate import must_be, range_problems, without_consequences
from dcnrun.config.yaml_files import read_yaml
from dcnrun.data import (
    cityscapes,
    class_masks,
    coco,
    folder,
    instance_masks,
    labelme,
    panoptic,
    shapes,
    supervisely,
    voc,
    voc_boxes,
    yolo,
)
from dcnrun.data.bands import default_of
from dcnrun.data.box_batches import BoxDataset
from dcnrun.data.mask_batches import SegmentationDataset
from dcnrun.data.sample import Rule, Split
from dcnrun.data.splits import split_rule
from dcnrun.errors import UsageError
from dcnrun.resources import resource_dir

ConfigT = TypeVar("ConfigT", bound=DataConfig)


@dataclass(frozen=True)
class DataSource(Generic[ConfigT]):
    """What there is to know of a source: everything else asks its row in `DATASETS`."""

    config: type[ConfigT]
    """The class of its settings, which names the source."""
    masks: Callable[[ConfigT, Split], SegmentationDataset] | None = None
    """Opens a split with a mask for each image; None where the source has none."""
    boxes: Callable[[ConfigT, Split, bool], BoxDataset] | None = None
    """Opens a split with boxes, and with a mask for each box where that is asked for and there are any."""
    usual_labels: Labels = "masks"
    """The kind of labels that its files are made for: class masks may be made of files with boxes."""
    has_object_masks: bool = False
    """Whether what `boxes` opens may have masks of the objects."""
    rules: Callable[[ConfigT], Iterable[Rule]] = lambda _: ()
    """What its settings must keep beside their ranges."""

    @property
    def labels(self) -> frozenset[Labels]:
        """The kinds of labels that it can give."""
        given: dict[Labels, bool] = {
            "masks": self.masks is not None,
            "boxes": self.boxes is not None,
            "instances": self.has_object_masks,
        }
        return frozenset(kind for kind, is_given in given.items() if is_given)


DATASETS: dict[Source, DataSource[Any]] = {
    Source.shapes: DataSource(
        schema.ShapesConfig,
        masks=shapes.ShapesDataset,
        boxes=shapes.ShapesBoxDataset,
        has_object_masks=True,
        rules=shapes.rules,
    ),
    Source.folder: DataSource(schema.FolderConfig, masks=folder.open_folder, rules=folder.rules),
    Source.voc2012: DataSource(schema.Voc2012Config, masks=voc.Voc2012Dataset, rules=voc.rules),
    Source.cityscapes: DataSource(schema.CityscapesConfig, masks=cityscapes.CityscapesDataset, rules=cityscapes.rules),
    Source.voc: DataSource(
        schema.VocConfig, boxes=voc_boxes.VocBoxDataset, usual_labels="boxes", rules=voc_boxes.rules
    ),
    Source.coco: DataSource(
        schema.CocoConfig,
        masks=class_masks.of(coco.CocoDataset),
        boxes=coco.CocoDataset,
        usual_labels="boxes",
        has_object_masks=True,
        rules=coco.rules,
    ),
    Source.yolo: DataSource(
        schema.YoloConfig,
        masks=class_masks.of(yolo.YoloDataset),
        boxes=yolo.YoloDataset,
        usual_labels="boxes",
        has_object_masks=True,
        rules=yolo.rules,
    ),
    Source.labelme: DataSource(
        schema.LabelmeConfig,
        masks=class_masks.of(labelme.LabelmeDataset),
        boxes=labelme.LabelmeDataset,
        usual_labels="boxes",
        has_object_masks=True,
        rules=labelme.rules,
    ),
    Source.supervisely: DataSource(
        schema.SuperviselyConfig,
        masks=class_masks.of(supervisely.SuperviselyDataset),
        boxes=supervisely.SuperviselyDataset,
        usual_labels="boxes",
        has_object_masks=True,
        rules=supervisely.rules,
    ),
    Source.instance_masks: DataSource(
        schema.InstanceMasksConfig,
        masks=class_masks.of(instance_masks.InstanceMasksDataset),
        boxes=instance_masks.InstanceMasksDataset,
        usual_labels="boxes",
        has_object_masks=True,
        rules=instance_masks.rules,
    ),
    Source.panoptic: DataSource(
        schema.PanopticConfig,
        masks=panoptic.PanopticDataset,
        boxes=panoptic.PanopticBoxDataset,
        has_object_masks=True,
        rules=panoptic.rules,
    ),
}


def labels_of(config: DataConfig) -> frozenset[Labels]:
    """Return the labels that a data set can give: "masks" for `build_dataset`, "boxes" for `build_box_dataset`,
    "instances" for `build_instance_dataset`."""
    return DATASETS[config.source].labels


def choices_with(labels: Labels) -> list[str]:
    """Return the choices of `data=` whose source has such labels, in the order of the sources."""
    offered = [(source_of(choice), choice) for choice in choices("data")]
    return [choice for source in Source if labels in DATASETS[source].labels for s, choice in offered if s is source]


def source_of(choice: str) -> Source:
    """Return the source of a choice of `data=`: the schema that its file, or the choice it builds on, begins with."""
    content = read_yaml(resource_dir("conf") / "data" / f"{choice}.yaml")
    base = content["defaults"][0]
    return source_of(base) if isinstance(base, str) else Source(base["/schema/data@_here_"])


def build_dataset(config: DataConfig, split: Split) -> SegmentationDataset:
    """Open the images and masks that `config` describes.

    UsageError if it has no masks, or its root or layout is wrong; DataError if some of its files are missing.
    """
    dataset = open_dataset(config, split)
    dataset.verify()
    return dataset


def build_box_dataset(config: DataConfig, split: Split, *, masks: bool = False) -> BoxDataset:
    """Open the images and boxes that `config` describes; with masks of the objects if asked.

    UsageError if it has no boxes, or its root or layout is wrong; DataError if some of its files are missing, or if
    something is wrong with its boxes and the settings don't say otherwise.
    """
    dataset = open_box_dataset(config, split, masks=masks)
    dataset.verify()
    return dataset


def build_instance_dataset(config: DataConfig, split: Split) -> BoxDataset:
    """Open the images, boxes and masks of objects that `config` describes: every sample has masks.

    Objects of which only the box is known are difficult ones. Errors as of `build_box_dataset`; UsageError also where no
    object has a mask.
    """
    dataset = open_instance_dataset(config, split)
    dataset.verify()
    return dataset


def open_dataset(config: DataConfig, split: Split) -> SegmentationDataset:
    """Open the data set of `build_dataset` without looking for what is wrong with its files."""
    reader = DATASETS[config.source].masks
    if reader is None:
        raise _without(config, "masks")
    dataset = reader(config, split)
    dataset.bands = config.bands
    return dataset


def open_box_dataset(config: DataConfig, split: Split, *, masks: bool = False) -> BoxDataset:
    """Open the data set of `build_box_dataset` without looking for what is wrong with its files."""
    reader = DATASETS[config.source].boxes
    if reader is None:
        raise _without(config, "boxes")
    dataset = reader(config, split, masks)
    dataset.bands = config.bands
    return dataset


def open_instance_dataset(config: DataConfig, split: Split) -> BoxDataset:
    """Open the data set of `build_instance_dataset` without looking for what is wrong with its files."""
    if "instances" not in labels_of(config):
        raise _without(config, "instances")
    dataset = open_box_dataset(config, split, masks=True)
    dataset.require_masks()
    return dataset


def offered_choices(labels: Labels) -> str:
    """Return the choices of `data=` with such labels in words: `data=shapes, coco or yolo`."""
    *others, last = choices_with(labels)
    return f"data={', '.join(others)} or {last}" if others else f"data={last}"


def _without(config: DataConfig, labels: Labels) -> UsageError:
    return UsageError(f"data.source={config.source} has no {LABELS_IN_WORDS[labels]}; choose {offered_choices(labels)}")


def problems(config: DataConfig) -> list[str]:
    """Return what is wrong with the values of the settings, a line each; the files are not looked at."""
    out_of_range = range_problems(config, "data.")
    broken = [
        must_be(f"data.{key}", getattr(config, key), expected)
        for key, holds, expected in [*_common_rules(config), *DATASETS[config.source].rules(config)]
        if not holds
    ]
    return [*out_of_range.values(), *without_consequences(out_of_range, broken)]


def _common_rules(config: DataConfig) -> Iterator[Rule]:
    if isinstance(config, FilesConfig):
        yield split_rule(config)
    longest_short = max([config.eval_short_side, *config.short_sides])
    expected = "0, as long as data.short_sides and data.eval_short_side don't resize"
    if longest_short:
        expected = f"0, or at least the longest of data.short_sides and data.eval_short_side, {longest_short}"
    yield "long_side_max", config.long_side_max == 0 or 0 < longest_short <= config.long_side_max, expected
    for key, unit in (("mean", "numbers from 0 to 1"), ("std", "numbers above 0")):
        values: list[float] = getattr(config, key)
        if config.bands:
            yield (
                key,
                not values or len(values) == len(config.bands) or values == default_of(key),
                (f"{len(config.bands)} numbers, as data.bands has, or auto"),
            )
        else:
            is_scaled = key == "std" or all(0 <= value <= 1 for value in values)
            yield key, not values or (len(values) == 3 and is_scaled), f"3 {unit}, or auto"
    yield "bands", len(set(config.bands)) == len(config.bands), "every band once"
    yield "scale_max", config.scale_max >= config.scale_min, f"at least data.scale_min={config.scale_min}"
