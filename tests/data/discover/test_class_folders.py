"""Sets with a file for each class are recognised as they are unpacked, and the settings that are printed for them open them."""

import itertools

import numpy as np
import pytest

from dcnrun.data.discover.folder import discover
from dcnrun.data.registry import open_dataset
from tests.data.discover.factories import opened
from tests.data.factories import (
    labels,
    save_image,
    save_mask,
)

BOTH = ("train", "val")


@pytest.mark.parametrize(
    ("image", "mask", "splits", "classes", "settings"),
    [
        (
            "{s}/image/007-{n}.jpg",
            "{s}/label/{c}/007-{n}.tif",
            ("train", "valid"),
            ["EX", "HE", "SE"],
            "images=SPLIT/image masks=SPLIT/label/CLASS val=valid",
        ),
        (
            "{s}/images/rgb/A{n}.jpg",
            "{s}/labels/{c}/A{n}.png",
            BOTH,
            ["double_plant", "waterway", "weeds"],
            "images=SPLIT/images/rgb masks=SPLIT/labels/CLASS",
        ),
        (
            "1. Original Images/{s} Set/IDRiD_{n}.jpg",
            "2. All Segmentation Groundtruths/{s} Set/{c}/IDRiD_{n}_X.tif",
            ("a. Training", "b. Testing"),
            ["1. Microaneurysms", "2. Haemorrhages", "3. Soft Exudates"],
            "images=1. Original Images/*. SPLIT Set masks=2. All Segmentation Groundtruths/*. SPLIT Set/CLASS train=Training val=Testing",
        ),
    ],
    ids=["ddr", "agriculture-vision", "idrid"],
)
def test_as_they_are_unpacked(tmp_path, image, mask, splits, classes, settings):
    for seed, (split, number) in enumerate(itertools.product(splits, range(4))):
        save_image(tmp_path / image.format(s=split, n=number), (16, 12), seed)
        for place, name in enumerate(classes[: 3 - number % 2]):  # every other image has no file of the last class
            inside = 255 * np.repeat(labels((16, 3), (0, 1), 10 * seed + place), 4, 0)
            save_mask(tmp_path / mask.format(s=split, n=number, c=name), inside, "L")
    reading, *others = discover(tmp_path)
    assert [reading.format, *(other.format for other in others)] == [
        "a mask for each class",
        "folders of images and masks",
    ]
    assert reading.classes == ["background", *classes]
    found = [override.removeprefix("data.") for override in reading.overrides if "classes" not in override]
    assert " ".join(found[3:]) == settings
    for nth, split in enumerate(("train", "val")):
        dataset = opened(reading, open_dataset, split)
        drawn = np.zeros((12, 16))
        for place in range(3):
            drawn[np.repeat(labels((16, 3), (0, 1), 40 * nth + place), 4, 0) > 0] = place + 1
        assert len(dataset) == 4
        assert np.array_equal(dataset[0]["mask"], drawn)


def test_two_folders_may_be_two_annotators(tmp_path):
    for number in range(4):
        save_image(tmp_path / f"images/{number}.png", (16, 12), number)
        for seed, name in enumerate(("hair", "skin")):
            save_mask(
                tmp_path / f"masks/{name}/{number}.png",
                np.repeat(labels((16, 3), (0, 1), 4 * number + seed), 4, 0),
                "L",
            )
    one, both = discover(tmp_path)
    assert (one.format, both.format) == ("folders of images and masks", "a mask for each class")
    assert both.classes == ["background", "hair", "skin"]
