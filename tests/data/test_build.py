"""From settings to data set, and what is said of settings that can't work."""

from dataclasses import replace

import pytest

from dcnrun.config.schema import CityscapesConfig, DataConfig, FolderConfig, ShapesConfig, Source, Voc2012Config
from dcnrun.data import build_dataset, problems
from dcnrun.data.shapes import ShapesDataset
from dcnrun.errors import UsageError

GOOD = {
    "shapes": ShapesConfig(object_scale_min=0.2),
    "folder": FolderConfig(root="somewhere", classes=["background", "cat"]),
    "voc2012": Voc2012Config(root="somewhere"),
    "cityscapes": CityscapesConfig(root="somewhere"),
}


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
        ("folder", "mean", [0.5, 0.5]),
        ("folder", "mean", [0.5, 0.5, 120.0]),
        ("folder", "std", [0.2, 0.0, 0.2]),
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
        ("shapes", "rotation", 200.0),
        ("shapes", "warp", -0.1),
        ("shapes", "distractors", -1),
        ("shapes", "texture", 1.1),
        ("folder", "root", None),
        ("folder", "classes", []),
        ("folder", "classes", ["cat", "cat"]),
        ("folder", "ignore_label", 1),
        ("folder", "ignore_label", 256),
        ("voc2012", "root", None),
        ("voc2012", "train", "test"),
        ("voc2012", "val", "validation"),
        ("cityscapes", "root", None),
        ("cityscapes", "val", "test"),
    ],
)
def test_a_problem_names_setting_and_value(name, key, value):
    (line,) = problems(replace(GOOD[name], **{key: value}))
    assert line.startswith(f"data.{key}={'null' if value is None else value}: expected ")
    assert "\n" not in line


def test_all_problems_come_together():
    lines = problems(ShapesConfig(batch_size=0, warp=3.0, image_size=1))
    assert [line.split("=")[0] for line in lines] == [
        "data.batch_size",
        "data.image_size",
        "data.object_scale_min",
        "data.warp",
    ]


def test_the_class_of_the_settings_decides():
    assert isinstance(build_dataset(GOOD["shapes"], "train"), ShapesDataset)
    assert len(build_dataset(ShapesConfig(val_images=7), "val")) == 7
    with pytest.raises(UsageError, match=r"data.root=somewhere .* lacks"):
        build_dataset(GOOD["folder"], "train")


def test_settings_without_a_reader():
    with pytest.raises(UsageError, match=r"has no reader"):
        build_dataset(DataConfig(source=Source.shapes), "train")
