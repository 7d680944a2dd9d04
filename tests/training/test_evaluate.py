"""The scores of a trained run are those of its validation, and its predictions those that others score alike."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dcnrun.config.compose import compose, load
from dcnrun.data import build_box_dataset, build_dataset
from dcnrun.errors import UsageError
from dcnrun.resources import resource_dir
from dcnrun.runs import CheckpointChoice, RunFolder, json_ready
from dcnrun.training import checkpoint
from dcnrun.training.evaluate import evaluate
from tests.training.factories import run


@pytest.mark.parametrize("which", CheckpointChoice)
def test_evaluate_gives_the_numbers_of_validation(which, finished, capsys, tmp_path):
    summary = finished.read_summary()
    result = evaluate(finished.path, which, errors=tmp_path)
    errors = json.loads((tmp_path / "errors.json").read_text())
    assert errors["score"] == result["metrics"]["val/miou"]
    assert errors["per_class"] == json_ready(result["per_class"])
    assert ("was chosen by val/miou on the run's own" in " ".join(capsys.readouterr().out.split())) == (
        which is CheckpointChoice.best
    )
    if which is CheckpointChoice.last:
        assert result["metrics"] == summary["metrics"]
        assert json_ready(result["per_class"]) == summary["per_class"]
    else:
        assert result["metrics"]["val/miou"] == summary["best"]["val/miou"]
    again = evaluate(finished.path, which, ["data.eval_batch_size=5"])
    assert again["metrics"]["val/miou"] == pytest.approx(result["metrics"]["val/miou"], abs=1e-3)


def test_evaluate_needs_no_training_images_and_tells_of_mended_labels(tiny, tmp_path, capsys):
    tiny = [override for override in tiny if "_images" not in override and "image_size" not in override]
    folder = run([*tiny, "conv=standard", "data=nuclei", "data.crop_size=32", "trainer.steps=1"], tmp_path)
    for kind in ("images", "masks"):
        shutil.copytree(resource_dir("samples") / "nuclei" / kind / "val", tmp_path / "data" / kind / "val")
    result = evaluate(folder, CheckpointChoice.last, [f"data.root={tmp_path / 'data'}"])
    assert result["metrics"] == RunFolder(folder).read_summary()["metrics"]
    told = "labels of the validation images have changed"
    assert told not in capsys.readouterr().out
    file = next((tmp_path / "data/masks/val").iterdir())
    with Image.open(file) as mask:
        mask.point(lambda value: 1 - value).save(file)
    evaluate(folder, CheckpointChoice.last, [f"data.root={tmp_path / 'data'}"])
    assert told in " ".join(capsys.readouterr().out.split())


def test_evaluate_on_data_with_other_classes_is_refused(finished, tmp_path):
    with pytest.raises(UsageError, match="does not fit"):
        evaluate(finished.path, CheckpointChoice.best, ["data=nuclei"])
    with pytest.raises(UsageError, match="not a run folder"):
        evaluate(tmp_path, CheckpointChoice.best)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: it is a file; give a folder"):
        evaluate(finished.path, CheckpointChoice.best, errors=tmp_path / "file")


def test_classes_that_have_other_numbers_are_matched_by_name(finished, tmp_path, capsys):
    """The same images and masks in files whose classes are numbered the other way round."""
    dataset = build_dataset(load(finished.config_file).data, "val")
    for index in range(len(dataset)):
        sample = dataset[index]
        mask = len(dataset.classes) - 1 - sample["mask"].numpy()
        for kind, pixels in (("images", sample["image"].numpy().transpose(1, 2, 0)), ("masks", mask)):
            (tmp_path / kind / "val").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / kind / "val" / f"{sample['name']}.png")
    classes = f"data.classes=[{','.join(reversed(dataset.classes))}]"
    other = ["data=folder", f"data.root={tmp_path}", "data.eval_batch_size=2", "data.workers=0"]
    result = evaluate(finished.path, CheckpointChoice.last, [*other, classes])
    assert result["metrics"] == finished.read_summary()["metrics"]
    assert json_ready(result["per_class"]) == finished.read_summary()["per_class"]
    assert "matched by name" in capsys.readouterr().out
    with pytest.raises(
        UsageError, match=r"does not fit .*: the classes there are background.*, but these images have a, b"
    ):
        evaluate(finished.path, CheckpointChoice.last, [*other, "data.classes=[a,b]"])


def test_a_network_whose_outputs_are_not_finite_is_named(finished, tmp_path, capsys):
    run = RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
    state = checkpoint.load(run.last_checkpoint)
    next(value for name, value in state["network"].items() if name.endswith("layer3.0.conv1.weight"))[:] = 3e38
    torch.save(state, run.last_checkpoint)
    assert evaluate(run.path, CheckpointChoice.last)["not_finite"] == "backbone.layer3.0.conv1"
    assert "first in layer backbone.layer3.0.conv1: its scores mean nothing" in " ".join(
        capsys.readouterr().out.split()
    )
    assert evaluate(finished.path, CheckpointChoice.last)["not_finite"] is None


def test_others_score_the_predictions_of_evaluate_alike(tiny_detector, tmp_path):
    """A COCO result file, judged by pycocotools on the boxes of the data set."""
    folder = run([*tiny_detector, "conv=standard", "trainer.steps=40", "trainer.eval_every=40"], tmp_path)
    result = evaluate(folder, CheckpointChoice.last, predictions=tmp_path / "found.json")
    summary = RunFolder(folder).read_summary()
    assert json_ready(result["metrics"]) == summary["metrics"]
    assert json_ready(result["per_class"]) == summary["per_class"]
    judge = COCOeval(truth := coco_truth(compose(tiny_detector)), truth.loadRes(str(tmp_path / "found.json")), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(result["metrics"]["val/map"], abs=1e-9)
    assert judge.stats[1] == pytest.approx(result["metrics"]["val/map_50"], abs=1e-9)


def coco_truth(config):
    dataset = build_box_dataset(config.data, "val")
    annotations = []
    for index in range(len(dataset)):
        sample = dataset[index]
        for (x0, y0, x1, y1), label, area in zip(
            sample["boxes"].tolist(), sample["labels"].tolist(), sample["area"].tolist(), strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": dataset.image_id(index),
                    "category_id": dataset.category_id(label),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": area,
                    "iscrowd": 0,
                }
            )
    truth = COCO()
    truth.dataset = {
        "images": [{"id": dataset.image_id(index)} for index in range(len(dataset))],
        "categories": [{"id": dataset.category_id(label)} for label in range(len(dataset.classes))],
        "annotations": annotations,
    }
    truth.createIndex()
    return truth


def test_predictions_are_in_pixels_of_the_data_set(tiny_detector, tmp_path):
    """The same network that sees images twice as large finds boxes of the same sizes, up to what it then sees."""
    folder = run([*tiny_detector, "conv=standard"], tmp_path)
    evaluate(folder, CheckpointChoice.last, ["data.eval_short_side=96"], tmp_path / "found.json")
    boxes = np.array([found["bbox"] for found in json.loads((tmp_path / "found.json").read_text())])
    assert len(boxes)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 48 + 1e-3).all()
    assert (boxes[:, :2] + boxes[:, 2:]).max() > 40


def test_segmentation_has_no_such_file(finished, tmp_path, capsys):
    with pytest.raises(UsageError, match="for boxes or masks of objects only"):
        evaluate(finished.path, CheckpointChoice.last, predictions=tmp_path / "found.json")
    assert "val/miou" not in capsys.readouterr().out, "said before the evaluation"
