"""Runs of detectors, from start to end; what they share with runs of segmentation is tested there."""

import pytest

from dcnrun.compare.compare_runs import compare_runs
from dcnrun.config.compose import compose
from dcnrun.errors import ConfigError
from dcnrun.runs import RunFolder
from dcnrun.training.run import train
from tests.training.factories import losses, metrics, run

LOSSES = ["loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"]


@pytest.mark.parametrize("model", ["model.roi_pool=deformable", "model.fpn=false"])
def test_a_run_has_everything(model, tiny_detector, tmp_path):
    more = ["model.output_stride=16"] if model == "model.fpn=false" else []
    folder = RunFolder(run([*tiny_detector, model, *more, "conv=deformable"], tmp_path))
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
    folder = RunFolder(run([*overrides, "model=retinanet", "conv=standard"], tmp_path))
    assert folder.read_summary()["status"] == "completed"


def test_without_learning_of_offsets_it_is_the_standard_detector(tiny_detector, tmp_path):
    """Zhu et al. 2018: "the detector degenerates to regular Faster R-CNN". Rounding aside, step by step."""
    standard = losses(run([*tiny_detector, "conv=standard"], tmp_path, "standard"))
    frozen = ["conv=modulated", "model.roi_pool=modulated", "optim.offset_lr_mult=0", "optim.roi_offset_lr_mult=0"]
    assert losses(run([*tiny_detector, *frozen], tmp_path, "frozen")) == pytest.approx(standard, rel=2e-2)


@pytest.mark.parametrize("pool", ["deformable", "modulated"])
def test_roi_offsets_learn_at_their_own_rate(pool, tiny_detector, tmp_path):
    def moved(mult):
        overrides = [*tiny_detector, f"model.roi_pool={pool}", f"optim.roi_offset_lr_mult={mult}", "trainer.steps=2"]
        path = run(overrides, tmp_path, str(mult))
        state = RunFolder(path).last_checkpoint
        from dcnrun.training import checkpoint

        network = checkpoint.load(state)["network"]
        last = max(name for name in network if "box_roi_pool.offset_branch" in name and name.endswith("weight"))
        return float(network[last].abs().max())

    assert moved(0) == 0
    assert moved(1) > moved(0.01) > 0


def test_runs_are_compared_by_ap(tiny_detector, tmp_path):
    runs = [
        run([*tiny_detector, f"conv={kind}", f"seed={seed}", "trainer.steps=2"], tmp_path, f"{kind}{seed}")
        for kind in ("standard", "deformable")
        for seed in (0, 1)
    ]
    report = compare_runs(runs, tmp_path / "out")
    assert report["metric"] == "val/map"
    assert [variant["seeds"] for variant in report["variants"]] == [[0, 1], [0, 1]]
    assert report["variants"][1]["difference"]["bootstrap"] is not None
    assert (tmp_path / "out" / "compare.png").stat().st_size > 1000


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
