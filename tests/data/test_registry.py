"""From settings to data set, and what is said of settings that can't work."""

import re
from dataclasses import replace
from functools import cache
from importlib import import_module

import pytest

from dcnrun.config.compose import compose
from dcnrun.config.schema import (
    DATA_SCHEMAS,
    CityscapesConfig,
    CocoConfig,
    FolderConfig,
    InstanceMasksConfig,
    LabelmeConfig,
    PanopticConfig,
    ShapesConfig,
    Source,
    SuperviselyConfig,
    Voc2012Config,
    VocConfig,
    YoloConfig,
)
from dcnrun.config.settings import as_typed
from dcnrun.data import build_box_dataset, build_dataset, build_instance_dataset, labels_of, problems
from dcnrun.data.registry import DATASETS, choices_with, source_of
from dcnrun.data.shapes import ShapesDataset
from dcnrun.errors import UsageError
from dcnrun.resources import resource_dir
from tests.data.conformance import DatasetSuite

GOOD = {
    "shapes": ShapesConfig(object_scale_min=0.2),
    "folder": FolderConfig(root="somewhere", classes=["background", "cat"]),
    "voc2012": Voc2012Config(root="somewhere"),
    "cityscapes": CityscapesConfig(root="somewhere"),
    "voc": VocConfig(root="somewhere"),
    "coco": CocoConfig(root="somewhere"),
    "yolo": YoloConfig(root="somewhere"),
    "labelme": LabelmeConfig(root="somewhere"),
    "supervisely": SuperviselyConfig(root="somewhere"),
    "panoptic": PanopticConfig(root="somewhere"),
    "instance_masks": InstanceMasksConfig(root="somewhere"),
}

PRESETS = {path.stem for path in (resource_dir("conf") / "data").glob("*.yaml")}


@cache
def preset(name):
    """The settings of a choice, which no test changes."""
    return compose([f"data={name}"]).data


def test_every_source_has_a_row_a_class_of_settings_and_a_choice():
    assert set(DATASETS) == set(DATA_SCHEMAS) == set(Source) == {source_of(name) for name in PRESETS}
    for source, row in DATASETS.items():
        assert row.config is DATA_SCHEMAS[source]
        assert row.config().source is source
        assert row.labels


@pytest.mark.parametrize("source", Source)
def test_every_source_passes_the_suite(source):
    """The test file of a reader's module has a class that inherits it, and runs it for all labels of the source."""
    row = DATASETS[source]
    readers = filter(None, (row.masks, row.boxes))
    modules = [import_module(f"tests.data.test_{reader.__module__.rpartition('.')[2]}") for reader in readers]
    tests = [item for module in modules for item in vars(module).values() if isinstance(item, type)]
    assert any(issubclass(item, DatasetSuite) and item.source is source for item in tests), modules


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_source_of_a_choice_is_the_one_that_it_composes(name):
    assert source_of(name) is preset(name).source


@pytest.mark.parametrize("name", GOOD)
def test_sound_settings_have_no_problems(name):
    assert problems(GOOD[name]) == []


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("shapes", "batch_size", 0),
        ("shapes", "eval_batch_size", 0),
        ("folder", "workers", -1),
        ("voc2012", "crop_size", 5),
        ("voc2012", "crop_size", -1),
        ("folder", "scale_min", 0.0),
        ("folder", "scale_max", 0.5),
        ("folder", "flip", 1.5),
        ("folder", "vertical_flip", float("nan")),
        ("folder", "color_jitter", -0.1),
        ("folder", "random_rotation", 181.0),
        ("folder", "elastic", -1.0),
        ("folder", "mean", [0.5, 0.5]),
        ("folder", "mean", [0.5, 0.5, 120.0]),
        ("folder", "std", [0.2, 0.0, 0.2]),
        ("folder", "bands", [0, -1]),
        ("folder", "bands", [1, 1]),
        ("shapes", "seed", -1),
        ("shapes", "image_size", 15),
        ("shapes", "train_images", 0),
        ("shapes", "val_images", 0),
        ("shapes", "objects_min", -1),
        ("shapes", "objects_max", 1),
        ("shapes", "objects_max", 256),
        ("shapes", "object_scale_min", 0.0),
        ("shapes", "object_scale_min", 0.001),
        ("shapes", "object_scale_max", 0.1),
        ("shapes", "object_scale_max", 0.6),
        ("shapes", "object_scale_range", 0.9),
        ("shapes", "object_scale_range", 20.0),
        ("shapes", "rotation", 200.0),
        ("shapes", "warp", -0.1),
        ("shapes", "distractors", -1),
        ("shapes", "texture", 1.1),
        ("folder", "root", None),
        ("folder", "classes", []),
        ("folder", "classes", ["cat", "cat"]),
        ("folder", "ignore_label", 1),
        ("folder", "ignore_label", 256),
        ("folder", "mask_suffix", "_mask.png"),
        ("folder", "mask_values", [0]),
        ("folder", "mask_values", [7, 7]),
        ("folder", "mask_values", [0, 256]),
        ("folder", "colours", ["#000000"]),
        ("folder", "colours", ["0,0,0", "#000000"]),
        ("folder", "colours", ["0,0,0", "0,0,256"]),
        ("voc2012", "root", None),
        ("voc2012", "train", "test"),
        ("voc2012", "val", "validation"),
        ("cityscapes", "root", None),
        ("cityscapes", "val", "test"),
        ("shapes", "short_sides", [600, 5]),
        ("shapes", "eval_short_side", -1),
        ("shapes", "long_side_max", 1000),
        ("shapes", "long_side_max", -1),
        ("voc", "root", None),
        ("voc", "classes", ["tree", "tree"]),
        ("voc", "train", []),
        ("voc", "train", ["trainval", ""]),
        ("voc", "first_corner", "2"),
        ("voc", "val", ["VOC2007/"]),
        ("voc", "val", ["VOC2007/test", "VOC2007/test"]),
        ("coco", "root", None),
        ("coco", "annotations", "annotations/instances.json"),
        ("labelme", "root", None),
        ("labelme", "classes", ["cat", "cat"]),
        ("supervisely", "root", None),
        ("supervisely", "classes", ["cat", "cat"]),
        ("panoptic", "root", None),
        ("panoptic", "annotations", "annotations/panoptic.json"),
        ("instance_masks", "root", None),
        ("instance_masks", "classes", ["cell", "nucleus"]),
        ("instance_masks", "mask_suffix", "_mask.png"),
        ("yolo", "root", None),
        ("yolo", "classes", ["cat", "cat"]),
        ("yolo", "train", ""),
    ],
)
def test_a_problem_names_setting_and_value(name, key, value):
    (line,) = problems(replace(GOOD[name], **{key: value}))
    assert line.startswith(f"data.{key}={as_typed(value)} must be ")
    assert "\n" not in line


def test_short_and_long_sides_must_fit():
    assert problems(ShapesConfig(short_sides=[480, 600], eval_short_side=600, long_side_max=1000)) == []
    (line,) = problems(ShapesConfig(short_sides=[480, 800], eval_short_side=600, long_side_max=799))
    assert line.startswith("data.long_side_max=799 must be 0, or at least the longest")
    assert line.endswith(" 800")


def test_all_problems_come_together_without_the_consequences_of_others():
    """Two pixels are more than all of an image of one: that follows from the image's size and is not said again."""
    lines = problems(ShapesConfig(batch_size=0, warp=3.0, image_size=1, objects_min=9))
    assert [line.split("=")[0] for line in lines] == [
        "data.batch_size",
        "data.image_size",
        "data.warp",
        "data.objects_max",
    ]


def test_the_source_decides():
    assert isinstance(build_dataset(GOOD["shapes"], "train"), ShapesDataset)
    assert len(build_dataset(ShapesConfig(val_images=7), "val")) == 7
    with pytest.raises(UsageError, match=r"data\.root=somewhere is not there"):
        build_dataset(GOOD["folder"], "train")


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_have_no_problems_but_that_you_say_where_your_own_data_is(name):
    found = problems(preset(name))
    assert found == [] or (name in list(Source) and any(line.startswith("data.root=null must be") for line in found))


def test_labels_that_a_source_does_not_have():
    assert labels_of(GOOD["shapes"]) == {"masks", "boxes", "instances"}
    assert labels_of(GOOD["folder"]) == {"masks"}
    assert labels_of(GOOD["coco"]) == {"masks", "boxes", "instances"}
    assert labels_of(GOOD["voc"]) == {"boxes"}
    with pytest.raises(
        UsageError, match=r"data.source=voc has no masks; choose data=shapes, folder, nuclei, voc2012(,| or) c"
    ):
        build_dataset(GOOD["voc"], "train")
    with pytest.raises(
        UsageError, match=r"data.source=folder has no boxes; choose data=shapes, treecrowns, voc, voc0712, v"
    ):
        build_box_dataset(GOOD["folder"], "train")
    with pytest.raises(
        UsageError, match=r"data.source=voc has no masks of objects; choose data=shapes, coco, coco2017, n"
    ):
        build_instance_dataset(GOOD["voc"], "train")


BUILDERS = {"masks": build_dataset, "boxes": build_box_dataset, "instances": build_instance_dataset}


@pytest.mark.parametrize(("labels", "build"), list(BUILDERS.items()))
def test_choices_that_are_offered_have_the_labels(labels, build):
    without = GOOD["folder" if labels == "boxes" else "voc"]
    with pytest.raises(UsageError) as raised:
        build(without, "train")
    offered = re.findall(r"\w+", str(raised.value).partition("data=")[2].replace(" or ", " "))
    assert offered == choices_with(labels)
    assert set(offered) == {name for name in PRESETS if labels in labels_of(preset(name))}
