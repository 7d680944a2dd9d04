"""Runs of detectors, from start to end; what they share with runs of segmentation is tested there."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dcnrun.compare.compare_runs import compare_runs
from dcnrun.config.compose import compose
from dcnrun.data import build_box_dataset
from dcnrun.errors import ConfigError, UsageError
from dcnrun.runs import CheckpointChoice, RunFolder, json_ready
from dcnrun.training.evaluate import evaluate
from dcnrun.training.prepare import dry_run
from dcnrun.training.run import train
from tests.training.running import losses, metrics, on_two_ranks

LOSSES = ["loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"]


def run(overrides, path):
    train(compose(overrides), overrides, path)
    return path


@pytest.mark.parametrize("model", ["model.roi_pool=deformable", "model.fpn=false"])
def test_a_run_has_everything(model, tiny_detector, tmp_path):
    more = ["model.output_stride=16"] if model == "model.fpn=false" else []
    folder = RunFolder(run([*tiny_detector, model, *more, "conv=deformable"], tmp_path / "run"))
    summary = folder.read_summary()
    assert summary["status"] == "completed"
    assert summary["metric"] == "val/map"
    assert {"val/map", "val/map_50", "val/voc07_50", "val/voc12_70"} <= summary["metrics"].keys()
    assert summary["best"].keys() == {"step", "val/map"}
    assert set(summary["per_class"]) == {"val/map", "val/map_50"}
    assert summary["flops"] > 10**6
    for line in metrics(folder.path, "train"):
        assert sum(line[f"train/{part}"] for part in LOSSES) == pytest.approx(line["train/loss"], rel=1e-5)
        assert line.get("train/lr_roi_offset", 0) == pytest.approx(0.01 * line["train/lr"] if not more else 0)


def test_retinanet(tiny_detector, tmp_path):
    own = ("model.anchor", "model.fpn_channels", "model.width")
    overrides = [o for o in tiny_detector if not o.startswith("model") or o.startswith(own)]
    folder = RunFolder(run([*overrides, "model=retinanet", "conv=standard"], tmp_path / "run"))
    assert folder.read_summary()["status"] == "completed"


def test_without_learning_of_offsets_it_is_the_standard_detector(tiny_detector, tmp_path):
    """Zhu et al. 2018: "the detector degenerates to regular Faster R-CNN". Rounding aside, step by step."""
    standard = losses(run([*tiny_detector, "conv=standard"], tmp_path / "standard"))
    frozen = ["conv=modulated", "model.roi_pool=modulated", "optim.offset_lr_mult=0", "optim.roi_offset_lr_mult=0"]
    assert losses(run([*tiny_detector, *frozen], tmp_path / "frozen")) == pytest.approx(standard, rel=2e-2)


@pytest.mark.parametrize("pool", ["deformable", "modulated"])
def test_roi_offsets_learn_at_their_own_rate(pool, tiny_detector, tmp_path):
    def moved(mult):
        overrides = [*tiny_detector, f"model.roi_pool={pool}", f"optim.roi_offset_lr_mult={mult}", "trainer.steps=2"]
        path = run(overrides, tmp_path / str(mult))
        state = RunFolder(path).last_checkpoint
        from dcnrun.training import checkpoint

        network = checkpoint.load(state)["network"]
        last = max(name for name in network if "box_roi_pool.offset_branch" in name and name.endswith("weight"))
        return float(network[last].abs().max())

    assert moved(0) == 0
    assert moved(1) > moved(0.01) > 0


def test_others_score_the_predictions_of_evaluate_alike(tiny_detector, tmp_path):
    """A COCO result file, judged by pycocotools on the boxes of the data set."""
    folder = run([*tiny_detector, "conv=standard", "trainer.steps=40", "trainer.eval_every=40"], tmp_path / "run")
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
    folder = run([*tiny_detector, "conv=standard"], tmp_path / "run")
    evaluate(folder, CheckpointChoice.last, ["data.eval_short_side=96"], tmp_path / "found.json")
    boxes = np.array([found["bbox"] for found in json.loads((tmp_path / "found.json").read_text())])
    assert len(boxes)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 48 + 1e-3).all()
    assert (boxes[:, :2] + boxes[:, 2:]).max() > 40


def test_segmentation_has_no_such_file(finished, tmp_path, capsys):
    with pytest.raises(UsageError, match="for boxes only"):
        evaluate(finished.path, CheckpointChoice.last, predictions=tmp_path / "found.json")
    assert "val/miou" not in capsys.readouterr().out, "said before the evaluation"


def test_runs_are_compared_by_ap(tiny_detector, tmp_path):
    runs = [
        run([*tiny_detector, f"conv={kind}", f"seed={seed}", "trainer.steps=2"], tmp_path / f"{kind}{seed}")
        for kind in ("standard", "deformable")
        for seed in (0, 1)
    ]
    report = compare_runs(runs, tmp_path / "out")
    assert report["metric"] == "val/map"
    assert [variant["seeds"] for variant in report["variants"]] == [[0, 1], [0, 1]]
    assert report["variants"][1]["difference"]["bootstrap"] is not None
    assert (tmp_path / "out" / "compare.png").stat().st_size > 1000


def test_dry_run(tiny_detector):
    result = dry_run(compose([*tiny_detector, "conv=deformable"]))
    assert result["flops"] > 10**6
    assert [layer["name"] for layer in result["replaced"]] == ["layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["model=deeplab", "data=treecrowns"], "model=deeplab learns from masks, and data=voc has none"),
        (["model=faster_rcnn", "data=nuclei"], "model=faster_rcnn learns from boxes, and data=folder has none"),
        (["model=faster_rcnn", "trainer.metric=val/miou"], "trainer.metric=val/miou must be one of val/map"),
        (["model=faster_rcnn", "model.frozen_stages=5"], "model.frozen_stages=5 keeps"),
        (["model=faster_rcnn", "model.anchor_sizes=[32]"], "one for each level"),
        (["model=faster_rcnn", "model.width=8"], "model.width=8 must be at least 16, or trainer.channels_last=false"),
        (["model=faster_rcnn", "optim.roi_offset_lr_mult=0.1"], "does nothing with model.roi_pool=align"),
    ],
)
def test_what_does_not_fit_is_said(overrides, problem):
    with pytest.raises(ConfigError) as refused:
        train(compose(overrides))
    assert problem in str(refused.value)


@pytest.mark.slow
def test_two_processes_score_each_image_once(tiny_detector, forked, tmp_path):
    folder = tmp_path / "run"
    overrides = [*tiny_detector, "conv=deformable", "trainer.devices=2", "trainer.accelerator=cpu"]
    on_two_ranks(forked, "train", *overrides, "--run-dir", folder)
    summary = RunFolder(folder).read_summary()
    assert summary["status"] == "completed"
    assert json_ready(evaluate(folder, CheckpointChoice.last)["metrics"]) == pytest.approx(
        summary["metrics"], abs=1e-6, nan_ok=True
    )
