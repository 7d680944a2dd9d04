"""Pictures of what runs find in validation images, beside what `dcnrun predict` writes."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from dcnrun.runs import CheckpointChoice, RunFolder
from dcnrun.training.side_by_side import MOST_BYTES, draw_side_by_side, small_jpeg
from tests.predict.factories import MASK_RCNN, TINY, TINY_DETECTOR, predicted, read_mask, saved_run


def saved(folder, base, count=2):
    """The folders of runs with different weights."""
    for seed in range(count):
        run = RunFolder(saved_run(folder / f"run{seed}", base=base, seed=seed))
        shutil.copy(run.best_checkpoint, run.last_checkpoint)
    return [folder / f"run{seed}" for seed in range(count)]


def request(folders, names):
    return {
        "images": names,
        "runs": [{"title": f"{i}. {each.name}", "folder": str(each)} for i, each in enumerate(folders)],
    }


def names_of(folder):
    from dcnrun.training.trained_run import load_trained_run

    val_set = load_trained_run(folder, CheckpointChoice.last).val_set()
    return [val_set.name(index) for index in (1, 3)]


@pytest.mark.parametrize("base", [TINY, TINY_DETECTOR, MASK_RCNN], ids=["segmentation", "detection", "instances"])
def test_each_image_has_the_truth_every_run_and_where_they_differ(tmp_path, base):
    folders = saved(tmp_path, base)
    names = names_of(folders[0])
    drawn = draw_side_by_side(request([*folders, tmp_path / "none"], names))
    assert [image["name"] for image in drawn["images"]] == names
    assert drawn["left_out"] == [line for line in drawn["left_out"] if line.startswith("2. none: ")]
    assert len(drawn["left_out"]) == 1
    for image in drawn["images"]:
        first, second, differ, *titles = [each["title"] for each in image["pictures"]]
        assert [first, second, *titles] == ["image", "truth", "0. run0", "1. run1"]
        assert differ.startswith("they differ: ")
        files = [base64.b64decode(each["jpeg"]) for each in image["pictures"]]
        assert all(len(file) <= MOST_BYTES for file in files)
        sizes = {Image.open(io.BytesIO(file)).size for file in files[:2] + files[3:]}
        assert sizes == {(480, 480)}  # 48 pixels, each ten
        assert json.loads(json.dumps(image)) == image


def test_what_differs_is_what_differs_between_predictions(tmp_path):
    folders = saved(tmp_path, TINY)
    names = names_of(folders[0])
    predicted(folders, ["data"], tmp_path / "out", checkpoint=CheckpointChoice.last)
    for image in draw_side_by_side(request(folders, names))["images"]:
        first, second = (read_mask(tmp_path / "out" / run.name / "masks" / f"{image['name']}.png") for run in folders)
        share = np.mean(first != second)
        assert share > 0.1
        assert image["pictures"][2]["title"] == f"they differ: {100 * share:.1f} %"


def test_an_image_that_is_gone_is_said(tmp_path):
    drawn = draw_side_by_side(request(saved(tmp_path, TINY), ["gone"]))
    assert drawn["images"] == []
    assert drawn["left_out"][0] == "0. run0: gone is no longer among its validation images."


def test_any_picture_becomes_small():
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)
    file = small_jpeg(Image.fromarray(noise))
    assert len(file) <= MOST_BYTES
    assert 300 < Image.open(io.BytesIO(file)).width < 1500
