"""Runs as ONNX files, and what the files say of themselves."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import yaml

from dcnrun.config.compose import compose, load
from dcnrun.data import build_dataset, eval_batches
from dcnrun.errors import RunError, UsageError
from dcnrun.export.description import Description
from dcnrun.export.formats import ExportedModule, open_exported
from dcnrun.export.run import export_run
from dcnrun.export.targets import TARGETS, Precision, Settings, Target
from dcnrun.runs import CheckpointChoice, RunFolder
from dcnrun.tasks.build import build_model
from dcnrun.training import checkpoint
from dcnrun.training.evaluate import evaluate
from dcnrun.training.run import train
from tests.export.factories import assert_equal, in_onnxruntime, operators
from tests.training.factories import TINY

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def run(tmp_path_factory, torchlib_parsed_once):
    """The folder of a run of two steps, what `export_run` returned of it, and its network."""
    folder = tmp_path_factory.mktemp("modulated")
    settings = [*TINY, "conv=modulated", "conv.layers=2", "trainer.steps=2", "data.mean=[0.4,0.5,0.6]"]
    train(compose(settings), settings, folder / "run")
    result = export_run(folder / "run", folder / "model.onnx", CheckpointChoice.last)
    state = checkpoint.load(RunFolder(folder / "run").last_checkpoint)
    network = build_model(compose(settings), 8).network.eval()
    network.load_state_dict(state["network"])
    return folder, result, network


def test_a_file_of_a_run_computes_what_its_network_computes(run):
    folder, _, network = run
    file = folder / "model.onnx"
    assert operators(file).count("DeformConv") == 2
    assert onnx.load(file).opset_import[0].version == 19
    for shape in [(1, 3, 48, 48), (5, 3, 33, 71)]:
        image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        assert_equal(in_onnxruntime(file, image), network(image).detach())


def test_a_file_describes_how_to_feed_it(run):
    """With no more than the file, a picture's pixels give the classes that the run's own evaluation gives."""
    folder, _, network = run
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
    folder, result, _ = run
    assert json.loads(json.dumps(result)) == json.loads(json.dumps(result, default=str))
    assert result["bytes"] == (folder / "model.onnx").stat().st_size
    assert result["input"] == {"name": "image", "shape": ["batch", 3, "height", "width"]}
    assert result["output"] == {"name": "scores", "shape": ["batch", 8, "height", "width"]}
    compared = {(comparison["input"], comparison["offsets"]) for comparison in result["comparisons"]}
    inputs = {"random", "another batch", "another size", "validation image val-000000"}
    assert compared == {(name, which) for name in inputs for which in ("learnt", "random")}
    assert 0 < result["largest_difference"] < 1e-4


def test_a_file_is_compared_on_the_validation_images(run):
    folder, result, _ = run
    validation = result["validation"]
    with torch.inference_mode():
        scored = evaluate(folder / "run", CheckpointChoice.last)
    assert (validation["images"], validation["images_of_the_set"]) == (5, 5)
    assert validation["metrics"] == pytest.approx(validation["pytorch_metrics"], abs=0.01)
    assert validation["pytorch_metrics"] == pytest.approx(scored["metrics"], abs=0.01)
    assert 0 < validation["largest_difference"] < 1e-4 * validation["largest_score"]
    assert 0 <= validation["changed_labels"] < 0.01
    assert validation["images_per_second"] > 0 < validation["pytorch_images_per_second"]


def test_a_network_that_normalises_images_of_one_size_and_is_decomposed(run, tmp_path, capsys, monkeypatch):
    """It takes pixels as they are in files."""
    monkeypatch.setattr("dcnrun.export.exporting.speeds_of_forms", lambda *_: {True: 3.0, False: 4.0})
    folder, _, network = run
    file = tmp_path / "new" / "raw.onnx"
    settings = Settings(opset=22, size=(40, 56), with_preprocessing=True, decompose=True)
    result = export_run(folder / "run", file, CheckpointChoice.last, settings=settings, limit=2, licence="mine")
    said = capsys.readouterr().out
    assert "On 2, evenly, of 5 validation images" in said
    assert result["images_per_second_of_forms"] == {"decomposed": 3, "operators": 4}
    shown = "as GridSample and convolutions: 3 images/s, against 4 as one operator each."
    assert f"Deformable layers are written {shown}" in " ".join(said.split())
    assert result["input"]["shape"] == ["batch", 3, 40, 56]
    assert {tuple(comparison["shape"][2:]) for comparison in result["comparisons"]} == {(40, 56)}
    assert onnx.load(file).opset_import[0].version == result["opset"] == 22
    assert operators(file).count("GridSample") == 2

    pixels = torch.randint(256, (3, 3, 40, 56), dtype=torch.uint8)
    mean, std = (torch.tensor(each)[:, None, None] for each in ([0.4, 0.5, 0.6], [0.229, 0.224, 0.225]))
    wanted = network((pixels / 255 - mean) / std).detach()
    assert_equal(in_onnxruntime(file, pixels), wanted)
    with pytest.raises(Exception, match="56"):
        in_onnxruntime(file, pixels[..., :48])

    exported = open_exported(file)
    description = Description.of(exported.metadata)
    assert (description.normalises, description.decomposed, description.licence) == (True, True, "mine")
    assert description.size_rule == "40x56 (height x width)"
    assert exported.metadata["input"].startswith("uint8 (batch, 3, height, width), RGB, pixels from 0 to 255")
    assert_equal(ExportedModule(exported, description)((pixels / 255 - mean) / std), wanted)


def test_a_network_in_8_bits_and_a_form_that_is_not_clearly_faster(run, tmp_path, capsys, monkeypatch):
    folder, _, _ = run
    monkeypatch.setitem(TARGETS, Target.onnx, dataclasses.replace(TARGETS[Target.onnx], takes_faster_form=True))
    monkeypatch.setattr("dcnrun.export.exporting.speeds_of_forms", lambda *_: {True: 2.1, False: 2.0})
    file, settings = tmp_path / "int8.onnx", Settings(size=(48, 48), precision=Precision.int8)
    result = export_run(
        folder / "run", file, CheckpointChoice.last, settings=settings, limit=2, calibration_images=3, max_drop=50
    )
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "as one operator each, chosen by measurement: 2 images/s, against 2.1 as GridSample and convolutions." in said
    )
    assert "--decompose asks for the other form" in said
    quantization, validation = result["quantization"], result["validation"]
    lost = validation["pytorch_metrics"]["val/miou"] - validation["metrics"]["val/miou"]
    assert quantization["lost_points"] == pytest.approx(100 * lost)
    assert f"8 bits cost {100 * lost:.2f} points of val/miou (--max-drop allows 50)" in said
    assert (quantization["calibration_images"], result["precision"], result["decompose"]) == (3, "int8", False)
    assert max(comparison["largest_difference"] for comparison in result["comparisons"]) < 1e-4
    assert validation["largest_difference"] > 1e-3 * validation["largest_score"]
    assert {"QuantizeLinear", "DeformConv"} <= set(operators(file))
    description = Description.of(open_exported(file).metadata)
    assert (description.precision, description.decomposed) == (Precision.int8, False)
    assert "ranges from 3 training images; deformable layers" in open_exported(file).metadata["quantization"]


def test_nothing_in_a_file_names_the_folders_of_whoever_made_it(run):
    assert b"site-packages" not in (run[0] / "model.onnx").read_bytes()


def test_a_run_that_is_none(tmp_path, run):
    with pytest.raises(UsageError, match="not a run folder"):
        export_run(tmp_path, tmp_path / "model.onnx", CheckpointChoice.best)
    (tmp_path / "config.yaml").write_bytes(RunFolder(run[0] / "run").config_file.read_bytes())
    with pytest.raises(RunError, match=r"best\.pt does not exist"):
        export_run(tmp_path, tmp_path / "model.onnx", CheckpointChoice.best)
    assert not (tmp_path / "model.onnx").exists()
