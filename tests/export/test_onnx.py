"""Networks as ONNX files: onnxruntime computes what PyTorch computes, and a wrong file is never written."""

import copy
import sys

import pytest
import torch
from torch import nn

from dcnrun import export
from dcnrun.errors import DcnrunError, UsageError
from dcnrun.export.exporting import exporting
from dcnrun.export.onnx import export_onnx, onnx_translations
from dcnrun.export.targets import Precision, Settings
from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d
from dcnrun.ops import deform_conv2d
from tests.export.factories import (
    assert_equal,
    in_onnxruntime,
    operators,
    randomised,
)

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.usefixtures("torchlib_parsed_once")

LAYERS = {
    "v1": lambda: DeformConv2d(3, 4, 3, padding=1),
    "v2": lambda: ModulatedDeformConv2d(3, 4, 3, padding=1, mask_start=0.5),
    "no bias, 1x1": lambda: DeformConv2d(2, 2, 1, bias=False),
    "y is not x": lambda: ModulatedDeformConv2d(4, 6, (2, 3), stride=(2, 1), padding=(0, 2), dilation=(1, 3)),
    "groups, 5x5": lambda: DeformConv2d(6, 6, 5, padding=2, stride=3, groups=3, offset_groups=2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_alone(name, tmp_path):
    torch.manual_seed(0)
    layer, file = randomised(LAYERS[name]()), tmp_path / "layer.onnx"
    exported = export_onnx(layer, torch.randn(2, layer.in_channels, 9, 12), file)
    assert operators(file).count("DeformConv") == 1
    assert exported.input_shape == ["batch", layer.in_channels, "height", "width"]
    for shape in [(1, layer.in_channels, 9, 12), (3, layer.in_channels, 16, 7)]:
        image = torch.randn(shape)
        assert_equal(in_onnxruntime(file, image), layer(image).detach())


def test_the_reference_of_onnx_agrees(tmp_path):
    from onnx.reference import ReferenceEvaluator

    torch.manual_seed(0)
    network = nn.Sequential(randomised(ModulatedDeformConv2d(2, 2, 3, stride=2, padding=1)), nn.ReLU())
    export_onnx(network, torch.randn(1, 2, 6, 5), tmp_path / "network.onnx")
    image = torch.randn(1, 2, 7, 6)
    (got,) = ReferenceEvaluator(str(tmp_path / "network.onnx")).run(["scores"], {"image": image.numpy()})
    assert_equal(got, network(image).detach())


def test_with_pytorchs_own_function(tmp_path):
    """As the docs of `onnx_translations` have it."""
    network, example = nn.Sequential(DeformConv2d(3, 4, 3), nn.ReLU()).eval(), torch.randn(1, 3, 8, 8)
    randomised(network[0])
    file = tmp_path / "network.onnx"

    translations = export.onnx_translations()
    torch.onnx.export(network, (example,), file, dynamo=True, verbose=False, custom_translation_table=translations)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert operators(file).count("DeformConv") == 1
    assert_equal(session.run(None, {session.get_inputs()[0].name: example.numpy()})[0], network(example).detach())


class HalfWithFineOffsets(nn.Module):
    """Half-precision values at positions in fp32."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3, 3, 3).half())
        self.bias = nn.Parameter(torch.randn(2).half())

    def forward(self, image):
        offset = image.repeat(1, 6, 1, 1) + 0.25
        return deform_conv2d(image.half(), offset, self.weight, self.bias, padding=1, mask=offset[:, :9]).float()


def test_offsets_wider_than_the_input(tmp_path):
    torch.manual_seed(0)
    network, file, image = HalfWithFineOffsets(), tmp_path / "half.onnx", torch.randn(1, 3, 6, 6)
    export_onnx(network, image, file, tolerance=2e-3)
    assert operators(file).count("DeformConv") == 1
    torch.testing.assert_close(
        torch.as_tensor(in_onnxruntime(file, image)), network(image).detach(), rtol=2e-3, atol=0.02
    )


def test_weights_of_16_bits(tmp_path):
    torch.manual_seed(0)
    network, file = randomised(ModulatedDeformConv2d(4, 4, 3, padding=1)).eval(), tmp_path / "half.onnx"
    with exporting(network, torch.randn(1, 4, 9, 9), file, settings=Settings(precision=Precision.fp16)) as export:
        assert max(comparison.share for comparison in export.comparisons) > 1e-5
    types = {each.data_type for each in onnx.load(file).graph.initializer if len(each.dims) > 1}
    assert types == {onnx.TensorProto.FLOAT16}
    assert operators(file).count("DeformConv") == 1
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    images = torch.randn(2, 4, 17, 11)
    got, wanted = torch.as_tensor(in_onnxruntime(file, images)), network(images).detach()
    torch.testing.assert_close(got, wanted, rtol=0, atol=0.02 * float(wanted.abs().max()))


def test_the_network_is_left_as_it_was(tmp_path):
    network = nn.Sequential(DeformConv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)).train()
    before = copy.deepcopy(network.state_dict())
    export_onnx(network, torch.randn(2, 2, 6, 6), tmp_path / "network.onnx", metadata={"made by": "a test"})
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert [(entry.key, entry.value) for entry in onnx.load(tmp_path / "network.onnx").metadata_props] == [
        ("made by", "a test")
    ]


# Refusals.


def x_before_y(input, offset, weight, bias, stride, padding, dilation, mask):
    from onnxscript import opset19

    channels = opset19.Constant(value_ints=[channel for point in range(9) for channel in (2 * point + 1, 2 * point)])
    swapped = opset19.Gather(offset, channels, axis=1)
    return opset19.DeformConv(input, weight, swapped, bias, pads=[*padding, *padding], dilations=dilation)


def test_a_wrong_translation_is_refused(monkeypatch, tmp_path):
    """Even where the network's own offsets are all zero, as before training."""
    translation = {torch.ops.dcnrun.deform_conv2d.default: x_before_y}
    monkeypatch.setattr("dcnrun.export.onnx.onnx_translations", lambda decompose: translation)
    torch.manual_seed(0)
    layer, file = DeformConv2d(2, 2, 3, padding=2, dilation=2), tmp_path / "layer.onnx"
    file.write_text("what was there before")
    with pytest.raises(DcnrunError, match="differs from PyTorch's") as refusal:
        export_onnx(layer, torch.randn(1, 2, 8, 8), file)
    assert refusal.value.exit_code == 1
    assert "offsets: random" in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["layer.onnx"]
    assert file.read_text() == "what was there before"


class Branching(nn.Module):
    def forward(self, image):
        return image if image.sum() > 0 else -image


def test_a_network_that_pytorch_cannot_export(tmp_path):
    with pytest.raises(DcnrunError, match="can't export the network"):
        export_onnx(Branching(), torch.randn(1, 3, 6, 6), tmp_path / "network.onnx")
    assert list(tmp_path.iterdir()) == []


class NotANumber(nn.Module):
    def forward(self, image):
        return image / 0 * 0


def test_outputs_that_are_no_numbers_are_refused(tmp_path):
    with pytest.raises(DcnrunError, match="by nan"):
        export_onnx(NotANumber(), torch.randn(1, 3, 6, 6), tmp_path / "network.onnx")


@pytest.mark.parametrize("opset", [18, 99])
def test_opsets_that_will_not_do(opset, tmp_path):
    with pytest.raises(UsageError, match=f"opset {opset}: it must be 19, the first with DeformConv, to 2"):
        export_onnx(DeformConv2d(2, 2, 3), torch.randn(1, 2, 6, 6), tmp_path / "layer.onnx", opset=opset)


def test_other_wrong_arguments(tmp_path):
    layer = DeformConv2d(2, 2, 3)
    with pytest.raises(UsageError, match="is a folder"):
        export_onnx(layer, torch.randn(1, 2, 6, 6), tmp_path)
    with pytest.raises(UsageError, match=r"\(2, 6, 6\)"):
        export_onnx(layer, torch.randn(2, 6, 6), tmp_path / "layer.onnx")


def test_a_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DcnrunError, match=r"Can't write .*file/model\.onnx: .*file is not a folder"):
        export_onnx(nn.ReLU(), torch.randn(1, 2, 6, 6), tmp_path / "file" / "model.onnx")


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_library(library, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, library, None)
    for work in (onnx_translations, lambda: export_onnx(nn.ReLU(), torch.randn(1, 2, 6, 6), tmp_path / "a.onnx")):
        with pytest.raises(DcnrunError, match=rf"{library}.*pip install 'dcnrun\[onnx\]'"):
            work()
