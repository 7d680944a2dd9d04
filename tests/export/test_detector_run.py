"""Runs of detectors as files of ONNX and of OpenVINO, and a wrong file, which is not written."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from dcnrun.config.compose import compose
from dcnrun.config.schema import Backbone
from dcnrun.errors import DataError, DcnrunError, UsageError
from dcnrun.export import onnx as onnx_files
from dcnrun.export.description import Description
from dcnrun.export.detections import ExportedDetector
from dcnrun.export.detector_run import require_writable
from dcnrun.export.evaluate import evaluate_file
from dcnrun.export.formats import open_exported
from dcnrun.export.run import export_run
from dcnrun.export.targets import Precision, Settings, Target
from dcnrun.models.backbones import BACKBONES
from dcnrun.runs import CheckpointChoice
from dcnrun.tasks.build import build_model
from dcnrun.training.evaluate import evaluate
from dcnrun.training.run import train
from tests.export.factories import operators
from tests.training.factories import TINY_DETECTOR

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("openvino")

SIZE = (48, 48)
SETTINGS = [
    *TINY_DETECTOR,
    "model.width=24",  # which no other test has: the convolutions of a backbone are found once for each width
    "model.fpn=false",
    "model.output_stride=16",
    "conv=deformable",
    "conv.layers=1",
    "trainer.steps=1",
    "data.val_images=3",
]
FILES = {Target.onnx: "model.onnx", Target.openvino: "model.xml"}


@pytest.fixture(scope="module")
def run(tmp_path_factory, torchlib_parsed_once):
    """The folder of a run of one step, and what `export_run` returned of each kind of file; PyTorch exports the network once for both."""
    folder = tmp_path_factory.mktemp("detector")
    settings = Settings(size=SIZE, with_preprocessing=True)
    exported = []

    def exported_once(*arguments, to_onnx=onnx_files._to_onnx):
        exported.extend([] if exported else [to_onnx(*arguments)])
        return exported[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, Backbone.resnet18, (BasicBlock, [1] * 4))
        patch.setattr(onnx_files, "_to_onnx", exported_once)
        patch.setattr("dcnrun.export.exporting.speeds_of_forms", lambda *_: {True: 3.0, False: 4.0})
        train(compose(SETTINGS), SETTINGS, folder / "run")
        yield (
            folder,
            {
                target: export_run(
                    folder / "run", folder / file, CheckpointChoice.last, target, settings=settings, limit=2
                )
                for target, file in FILES.items()
            },
        )


@pytest.mark.parametrize("target", FILES)
def test_the_file_finds_what_pytorch_finds(target, run):
    result = run[1][target]
    assert result["outputs"] == ["boxes", "scores", "labels"]
    compared = {(each["input"], each["offsets"]) for each in result["comparisons"]}
    assert compared == {
        (name, which) for name in ("random", "validation image val-000000") for which in ("learnt", "random")
    }
    for each in result["comparisons"]:
        assert each["offsets"] == "learnt" or each["partners"]["detections"] > 100
    validation = result["validation"]
    assert (validation["images"], validation["images_of_the_set"]) == (2, 3)
    assert validation["partners"]["alone"] == 0 < validation["partners"]["detections"]
    assert validation["metrics"] == pytest.approx(validation["pytorch_metrics"], abs=1e-4, nan_ok=True)
    assert json.loads(json.dumps(result)) == json.loads(json.dumps(result, default=str))


def test_deformable_layers_are_written_in_the_form_of_each_kind_of_file(run):
    """OpenVINO's in the one that is faster, ONNX's as the standard's own."""
    folder, results = run
    assert {"DeformConv", "RoiAlign", "NonMaxSuppression"} <= set(operators(folder / "model.onnx"))
    forms = {target: (result["images_per_second_of_forms"], result["decompose"]) for target, result in results.items()}
    assert forms == {Target.onnx: (None, False), Target.openvino: ({"decomposed": 3, "operators": 4}, False)}
    layers = (folder / "model.xml").read_text()
    assert 'type="DeformableConvolution"' in layers
    assert "INFERENCE_PRECISION_HINT" in open_exported(folder / "model.xml").metadata["note"]


def test_files_are_scored_as_their_run(run, tmp_path):
    folder, _ = run
    wanted = evaluate(folder / "run", CheckpointChoice.last)
    for file in FILES.values():
        found = tmp_path / f"{file}.json"
        scored = evaluate_file(folder / file, predictions=found)
        assert scored["metrics"] == pytest.approx(wanted["metrics"], abs=1e-3, nan_ok=True)
        assert len(json.loads(found.read_text())) > 0
    with pytest.raises(UsageError, match=r"as it was exported: leave out model\.head"):
        evaluate_file(folder / file, ["model=deeplab"])
    with pytest.raises(DataError, match="has 3 outputs; one, scores of pixels, is expected"):
        open_exported(folder / file).run(torch.zeros(1, 3, *SIZE, dtype=torch.uint8))


@pytest.mark.parametrize("file", FILES.values())
def test_the_file_describes_what_it_takes_and_finds(file, run):
    """With no more than the file, pixels as they are give what the network finds in the normalised image."""
    folder, _ = run
    exported = open_exported(folder / file)
    description = Description.of(exported.metadata)
    assert exported.metadata["task"] == "object detection"
    assert exported.metadata["input"].startswith("uint8 (1, 3, height, width), RGB")
    assert "x0, y0, x1, y1 in pixels of the input" in exported.metadata["output"]
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, *SIZE), dtype=np.uint8)
    boxes, scores, labels = exported.outputs(torch.from_numpy(pixels))
    network = build_model(compose(SETTINGS), len(description.classes)).network.eval()
    state = torch.load(folder / "run" / "checkpoints" / "last.pt", weights_only=True)
    network.load_state_dict(state["network"])
    mean, std = (torch.tensor(each)[:, None, None] for each in (description.mean, description.std))
    image = (torch.from_numpy(pixels) / 255 - mean) / std
    with torch.no_grad():
        (wanted,) = network(nn.functional.pad(image, (0, 16, 0, 16)), [SIZE])
    assert len(scores) > 0
    torch.testing.assert_close(boxes, wanted["boxes"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(scores, wanted["scores"], rtol=1e-4, atol=1e-4)
    assert torch.equal(labels, wanted["labels"])
    (again,) = ExportedDetector(exported, description)(image, [SIZE])
    torch.testing.assert_close(again["boxes"], wanted["boxes"], rtol=1e-4, atol=1e-3)


def test_a_file_that_computes_something_else_is_not_written(run, tmp_path, monkeypatch):
    """Its offsets are those that the network had before training, whatever they should be."""
    folder, _ = run

    def write_wrong(self, networks, example, settings, metadata, quantized=None):
        model = onnx.load(folder / "model.onnx")
        (threshold,) = (each for each in model.graph.initializer if each.name.endswith("least_score"))
        for path, network in networks.items():
            least = next(buffer for name, buffer in network.named_buffers() if name.endswith("least_score"))
            threshold.CopyFrom(onnx.numpy_helper.from_array(least.numpy(), threshold.name))
            onnx.save(model, path)  # with offsets that stay what they are

    monkeypatch.setattr("dcnrun.export.onnx.OnnxFormat.write", write_wrong)
    file = tmp_path / "model.onnx"
    settings = Settings(size=SIZE, with_preprocessing=True)
    with pytest.raises(DcnrunError, match=r"In 2 images, .* detections .* have no partner .*No file was written"):
        export_run(folder / "run", file, CheckpointChoice.last, settings=settings, limit=2)
    assert not file.exists()


@pytest.mark.parametrize(
    ("target", "settings", "said"),
    [
        (Target.ncnn, Settings(), "--to ncnn: networks for objects are written with .*--to aoti only: pnnx, which"),
        (Target.onnx, Settings(precision=Precision.fp16), "--precision fp16: networks for objects are written in fp32"),
    ],
)
def test_what_is_not_written_of_detectors(target, settings, said):
    with pytest.raises(UsageError, match=said):
        require_writable(target, settings)
