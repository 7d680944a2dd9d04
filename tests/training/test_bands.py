"""Images of five bands with 16 bits, from training to the pictures."""

import json
from pathlib import Path

import onnx
import pytest
from PIL import Image

from dcnrun.compare.earlier_runs import settings_here, settings_of_run
from dcnrun.compare.grid import build_grid
from dcnrun.config.compose import compose, load
from dcnrun.errors import UsageError
from dcnrun.export.run import export_run
from dcnrun.export.targets import Settings
from dcnrun.runs import CheckpointChoice
from dcnrun.training.evaluate import evaluate
from dcnrun.training.prepare import dry_run
from dcnrun.training.run import resume, train
from dcnrun.visualize.command import visualize_offsets
from dcnrun.visualize.options import Options
from tests.data.factories import deep_tree


@pytest.fixture(scope="module")
def overrides(tmp_path_factory):
    root = tmp_path_factory.mktemp("deep")
    deep_tree(root)
    return [
        "data=folder", f"data.root={root}", "data.classes=[no,yes]", "data.batch_size=2", "data.workers=0", "data.crop_size=32",
        "conv=deformable", "conv.layers=1", "model.width=16", "model.head_channels=8", "optim.schedule=constant",
        "trainer.steps=2", "trainer.eval_every=2", "trainer.save_every=2", f"runs_dir={root / 'runs'}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(overrides):
    return Path(train(compose(overrides), overrides)["run"])


def test_what_the_run_keeps(run):
    data = load(run / "config.yaml").data
    assert (data.bands, len(data.mean), len(data.std)) == ([0, 1, 2, 3, 4], 5, 5)
    assert any("5 bands" in note for note in json.loads((run / "env.json").read_text())["data"]["train"])


def test_is_evaluated_as_it_was_validated(run):
    summary = json.loads((run / "summary.json").read_text())
    assert evaluate(run, CheckpointChoice.last)["metrics"] == summary["metrics"]


def test_is_resumed_with_the_same_numbers(run, overrides, tmp_path):
    longer = ["trainer.steps=4", f"runs_dir={tmp_path}"]
    whole = train(compose([*overrides, *longer]), [])
    begun = Path(train(compose([*overrides, f"runs_dir={tmp_path}"]), [])["run"])
    assert resume(begun, ["trainer.steps=4"])["metrics"] == whole["metrics"]


def test_costs_are_counted_of_five_bands(overrides):
    five = dry_run(compose(overrides))["flops"]
    three = dry_run(compose([*overrides, "data.bands=[4,3,2]"]))["flops"]
    assert five - three == 2 * 16 * 7 * 7 * 2 * 16 * 16  # filters, kernel, bands, pixels of the first convolution


@pytest.mark.slow
def test_is_exported(run, tmp_path):
    exported = export_run(run, tmp_path / "x.onnx", CheckpointChoice.last, settings=Settings(size=(32, 32)))
    assert exported["input"]["shape"][1] == 5
    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "x.onnx").metadata_props}
    assert "bands [0, 1, 2, 3, 4]" in facts["input"]
    assert len(json.loads(facts["mean"])) == 5


def test_is_shown(run, tmp_path):
    image = load(run / "config.yaml").data.root + "/images/val/a.tif"
    visualize_offsets([str(run), image], [], Options(out=tmp_path, limit=1))
    with Image.open(tmp_path / "a" / "points.png") as picture:
        picture.load()


def test_is_found_by_a_comparison(run, overrides):
    (variant,) = build_grid(overrides).variants
    assert settings_here(variant.config) == settings_of_run(run)


def test_other_weights_do_not_fit(run, overrides):
    with pytest.raises(
        UsageError, match=r"conv1.weight has shape \(16, 5, 7, 7\), for images of other bands than these"
    ):
        dry_run(compose([*overrides, "data.bands=[4,3,2]", f"model.weights={run}"]))
