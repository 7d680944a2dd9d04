"""Runs as ONNX files, and what the files say of themselves."""

import json

import numpy as np
import pytest
import torch
import yaml

from dcnrun.config.compose import compose, load
from dcnrun.data import build_dataset, eval_batches
from dcnrun.errors import RunError, UsageError
from dcnrun.export.run import export_run
from dcnrun.runs import CheckpointChoice, RunFolder
from dcnrun.tasks.build import build_model
from dcnrun.training import checkpoint
from dcnrun.training.run import train
from tests.export.factories import assert_equal, in_onnxruntime, operators
from tests.training.factories import TINY

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

KINDS = ["dilated", "modulated"]


@pytest.fixture(scope="module", params=KINDS)
def run(request, tmp_path_factory, torchlib_parsed_once):
    """The kind of a run of two steps, its folder, what `export_run` returned of it, and its network."""
    folder = tmp_path_factory.mktemp(request.param)
    settings = [*TINY, f"conv={request.param}", "conv.layers=2", "trainer.steps=2", "data.mean=[0.4,0.5,0.6]"]
    train(compose(settings), settings, folder / "run")
    result = export_run(folder / "run", folder / "model.onnx", CheckpointChoice.last, opset=19)
    state = checkpoint.load(RunFolder(folder / "run").last_checkpoint)
    network = build_model(compose(settings), 8).network.eval()
    network.load_state_dict(state["network"])
    return request.param, folder, result, network


def test_a_file_of_a_run_computes_what_its_network_computes(run):
    kind, folder, result, network = run
    file = folder / "model.onnx"
    assert operators(file).count("DeformConv") == (0 if kind == "dilated" else 2)
    assert onnx.load(file).opset_import[0].version == result["opset"] == 19
    for shape in [(1, 3, 48, 48), (5, 3, 33, 71)]:
        image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        assert_equal(in_onnxruntime(file, image), network(image).detach())


def test_a_file_describes_how_to_feed_it(run):
    """With no more than the file, a picture's pixels give the classes that the run's own evaluation gives."""
    _, folder, _, network = run
    facts = {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}
    config = load(RunFolder(folder / "run").config_file)
    dataset = build_dataset(config.data, "val")
    pixels = dataset[3]["image"].numpy()
    mean, std = (np.array(json.loads(facts[key]), np.float32).reshape(3, 1, 1) for key in ("mean", "std"))
    assert "(value / 255 - mean) / std" in facts["input"]
    scores = in_onnxruntime(folder / "model.onnx", ((pixels / np.float32(255) - mean) / std)[None])
    image = torch.cat([batch["image"] for batch in eval_batches(dataset, config.data)])[3:4]
    assert_equal(scores, network(image).detach())
    assert json.loads(facts["classes"]) == list(dataset.classes)
    assert scores.shape[1] == len(dataset.classes)
    assert yaml.safe_load(facts["config"])["data"]["mean"] == [0.4, 0.5, 0.6]
    assert (facts["checkpoint"], facts["step"]) == ("last", "2")


def test_the_result_describes_file_and_comparisons(run):
    kind, folder, result, _ = run
    assert json.loads(json.dumps(result)) == json.loads(json.dumps(result, default=str))
    assert result["bytes"] == (folder / "model.onnx").stat().st_size
    assert result["input"] == {"name": "image", "shape": ["batch", 3, "height", "width"]}
    assert result["output"] == {"name": "scores", "shape": ["batch", 8, "height", "width"]}
    compared = {(comparison["input"], comparison["offsets"]) for comparison in result["comparisons"]}
    inputs = {"random", "another batch", "another size", "validation image val-000000"}
    offsets = {"learnt"} if kind == "dilated" else {"learnt", "random"}
    assert compared == {(name, which) for name in inputs for which in offsets}
    assert 0 < result["largest_difference"] < 1e-4


def test_nothing_in_a_file_names_the_folders_of_whoever_made_it(run):
    assert b"site-packages" not in (run[1] / "model.onnx").read_bytes()


@pytest.mark.parametrize("run", ["dilated"], indirect=True)
def test_a_fixed_size(run, tmp_path):
    result = export_run(run[1] / "run", tmp_path / "new" / "model.onnx", CheckpointChoice.best, opset=22, size="40x56")
    assert result["input"]["shape"] == ["batch", 3, 40, 56]
    assert {tuple(comparison["shape"][2:]) for comparison in result["comparisons"]} == {(40, 56)}
    image = torch.randn(3, 3, 40, 56)
    assert in_onnxruntime(tmp_path / "new" / "model.onnx", image).shape == (3, 8, 40, 56)
    with pytest.raises(Exception, match="40"):
        in_onnxruntime(tmp_path / "new" / "model.onnx", torch.randn(1, 3, 48, 48))


@pytest.mark.parametrize("size", ["40", "40x", "0x40", "-1x2", "40x56x3", "axb", ""])
def test_sizes_that_are_none(size, tmp_path):
    with pytest.raises(UsageError, match="512x1024"):
        export_run(tmp_path, tmp_path / "model.onnx", CheckpointChoice.best, opset=19, size=size)


@pytest.mark.parametrize("run", ["dilated"], indirect=True)
def test_a_run_that_is_none(tmp_path, run):
    with pytest.raises(UsageError, match="not a run folder"):
        export_run(tmp_path, tmp_path / "model.onnx", CheckpointChoice.best, opset=19)
    (tmp_path / "config.yaml").write_bytes(RunFolder(run[1] / "run").config_file.read_bytes())
    with pytest.raises(RunError, match=r"best\.pt does not exist"):
        export_run(tmp_path, tmp_path / "model.onnx", CheckpointChoice.best, opset=19)
    assert not (tmp_path / "model.onnx").exists()
