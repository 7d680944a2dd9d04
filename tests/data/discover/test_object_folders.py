"""Sets with a mask file for each object, and sequences of cells, are recognised, and the settings that are printed for them open them."""

from shutil import rmtree

import pytest
import tifffile

from dcnrun.data.discover.folder import discover
from dcnrun.data.registry import open_instance_dataset
from dcnrun.errors import UsageError
from tests.data.discover.factories import cells, only, opened
from tests.data.factories import (
    labels,
    object_files_tree,
    save_image,
    save_mask,
)

BOTH = ("train", "val")


def test_the_cell_tracking_challenge(tmp_path):
    for sequence in ("01", "02"):
        for number in range(4):
            save_image(tmp_path / f"{sequence}/t00{number}.tif", (60, 60), seed=number)
            for kind, name in (("GT/TRA", "man_track"), ("ST/SEG", "man_seg")):
                file = tmp_path / f"{sequence}_{kind}/{name}00{number}.tif"
                file.parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(file, cells(3 + number + 9 * (kind == "ST/SEG")))
    (tmp_path / "01_GT/SEG").mkdir()
    tifffile.imwrite(tmp_path / "01_GT/SEG/man_seg001.tif", cells(5))
    reading = only(tmp_path)
    assert reading.overrides[3:] == ["data.images=SPLIT", "data.masks=SPLIT_ST/SEG", "data.train=01", "data.val=02"]
    for split in BOTH:
        dataset = opened(reading, open_instance_dataset, split)
        assert [len(dataset[index]["boxes"]) for index in range(4)] == [12, 13, 14, 15]
    rmtree(tmp_path / "01_ST")
    with pytest.raises(
        UsageError,
        match="of the 4 frames in 01, 1 have masks in 01_GT/SEG and 0 in 01_ST/SEG; expected all, or lists",
    ):
        discover(tmp_path)


@pytest.mark.parametrize(
    ("splits", "below", "more"),
    [
        (["stage1_train"], "", ["data.train=stage1_train", "data.val_share=0.2"]),
        (["stage1_train"], "stage1_train", ["data.train=.", "data.val_share=0.2"]),
        (["train", "val"], "", []),
        (["cells/train", "cells/test"], "", ["data.train=cells/train", "data.val=cells/test"]),
    ],
)
def test_a_file_for_each_object(tmp_path, splits, below, more):
    reading = only(object_files_tree(tmp_path, splits) / below)
    assert reading.format == "a mask file for each object"
    assert reading.overrides == ["data=instance_masks", f"data.root={tmp_path / below}", "model=mask_rcnn", *more]
    parts = [opened(reading, open_instance_dataset, split) for split in ("train", "val")]
    assert sum(map(len, parts)) == 2 * len(splits)


@pytest.mark.parametrize(
    ("images", "masks", "more"),
    [
        (["images"], ["masks"], ["data.train=.", "data.val_share=0.2"]),
        (
            ["images/train", "images/val"],
            ["masks/train", "masks/val"],
            ["data.masks=masks/SPLIT", "data.images=images/SPLIT"],
        ),
        (
            ["train/images", "valid/images"],
            ["train/masks", "valid/masks"],
            ["data.masks=SPLIT/masks", "data.images=SPLIT/images", "data.val=valid"],
        ),
    ],
)
def test_a_folder_of_files_for_each_image(tmp_path, images, masks, more):
    for nth, (one, other) in enumerate(zip(images, masks, strict=True)):
        for seed, name in enumerate("ab"):
            save_image(tmp_path / one / f"{name}.png", seed=10 * nth + seed)
            save_mask(tmp_path / other / name / "x.png", labels(seed=seed), "L")
    reading = only(tmp_path)
    assert reading.overrides[3:] == more
    assert sum(len(opened(reading, open_instance_dataset, split)) for split in ("train", "val")) == 2 * len(images)
