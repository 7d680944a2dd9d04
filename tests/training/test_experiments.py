"""Every preset composes, builds, and takes two steps on tiny data laid out as its own."""

import re
import shlex

import pytest

from dcnrun.compare.grid import build_grid
from dcnrun.config.compose import compose
from dcnrun.config.groups import choices
from dcnrun.config.schema import FasterRcnnConfig, Source
from dcnrun.resources import resource_dir
from dcnrun.training.prepare import dry_run
from dcnrun.training.run import train
from tests.data.factories import cityscapes_tree, coco_tree, voc_boxes_tree, voc_tree

EXPERIMENTS = choices("experiment")
SHORT = [
    "trainer.steps=2",
    "trainer.eval_every=2",
    "trainer.save_every=2",
    "trainer.threads=1",
    "trainer.pictures=0",
    "data.workers=0",
]
SHORT += ["optim.warmup_steps=0", "data.batch_size=2", "data.eval_batch_size=1"]
SMALL = ["model.weights=null", "model.width=16", "model.backbone=resnet18", "model.frozen_norm=false"]
SMALL_DETECTOR = ["model.fpn_channels=16", "model.roi_channels=16", "model.proposals=20", "model.roi_batch=16"]
TREES = {
    Source.voc2012: voc_tree,
    Source.cityscapes: cityscapes_tree,
    Source.voc: voc_boxes_tree,
    Source.coco: lambda root: coco_tree(root, ["train2017", "val2017"]),
}


def tiny(experiment, tmp_path):
    """Overrides that make a preset small, but for its layout."""
    config = compose([f"experiment={experiment}"])
    overrides = [f"experiment={experiment}", *SHORT, *SMALL]
    if isinstance(config.model, FasterRcnnConfig):
        overrides += SMALL_DETECTOR
    if config.data.source is Source.shapes:
        overrides += ["data.train_images=4", "data.val_images=2"]
    elif "samples" not in str(config.data.root) and "fixtures" not in str(config.data.root):
        overrides += [f"data.root={TREES[config.data.source](tmp_path / 'data')}"]
        if config.data.short_sides:
            overrides += ["data.short_sides=[64]", "data.eval_short_side=64"]
    return overrides


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_preset_trains(experiment, tmp_path):
    """With a kind that has all that others have, and offsets; what it is compared with is built on the same data."""
    overrides = [*tiny(experiment, tmp_path), "conv=deformable"]
    summary = train(compose(overrides), overrides, tmp_path / "run")
    assert summary["status"] == "completed"
    assert summary["metric"] in summary["metrics"]
    plain = dry_run(compose([*overrides, "conv=standard"]))
    assert plain["steps"] == summary["steps"]
    assert plain["parameters"] < summary["parameters"]


def commands(experiment):
    """The `dcnrun compare` lines in the comment at the head of a preset."""
    text = (resource_dir("conf") / "experiment" / f"{experiment}.yaml").read_text()
    head = " ".join(line.lstrip("#").strip() for line in text.splitlines() if line.startswith("#"))
    return [shlex.split(found) for found in re.findall(r"dcnrun compare ((?:\S+=\S+ ?)+)", head)]


@pytest.mark.parametrize(
    ("experiment", "rows"),
    [
        ("dcnv1_voc_segmentation", [5, 5]),
        ("dcnv1_cityscapes", [5, 5]),
        ("dcnv1_voc_detection", [5, 10]),
        ("coco_1x", [4, 3]),
    ],
)
def test_the_tables_of_the_papers_are_laid_out(experiment, rows):
    grids = [build_grid(overrides) for overrides in commands(experiment)]
    assert [len(grid.variants) for grid in grids] == rows
    assert all(grid.seeds == (0, 1, 2) for grid in grids)
