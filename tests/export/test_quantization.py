"""Networks in 8 bits: which parts are, by which ranges, and what both runtimes make of them."""

import pytest
import torch
from torch import nn

from dcnrun.errors import DcnrunError
from dcnrun.export.onnx import OnnxFormat
from dcnrun.export.openvino import core_with_deform_conv
from dcnrun.export.quantization import Calibration, quantize
from dcnrun.export.targets import Settings
from dcnrun.models.conv import ModulatedDeformConv2d
from dcnrun.models.deform_sampling import DCNv3
from tests.export.factories import in_onnxruntime, randomised

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("torchlib_parsed_once")

BRANCHES = {"2.offset_branch", "4.offset_branch"}
OF_DEFORMABLE_LAYERS = {
    "2.offset_branch.weight",
    "4.offset_branch.depthwise.weight",
    "4.offset_branch.linear.weight",
    "4.output_proj.weight",
}
IMAGES = [torch.randn(1, 3, 16 + 2 * more, 12, generator=torch.Generator().manual_seed(more)) for more in range(4)]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    modulated = randomised(ModulatedDeformConv2d(8, 8, 3, padding=1))
    norm = nn.BatchNorm2d(8)
    norm.running_var.fill_(9.0)
    layers = nn.Conv2d(3, 8, 3), nn.ReLU(), modulated, norm, DCNv3(8, 8, 3, padding=1, groups=2), nn.ReLU()
    return nn.Sequential(*layers, nn.Conv2d(8, 4, 1)).eval()


@pytest.fixture(scope="module", params=[False, True], ids=["DeformConv", "GridSample"])
def file(request, network, tmp_path_factory, torchlib_parsed_once):
    file = tmp_path_factory.mktemp("quantization") / "fp32.onnx"
    settings = Settings(decompose=request.param)
    OnnxFormat().write({file: network}, IMAGES[0], settings, {})
    return file


class Parts:
    """What of a model is in 8 bits."""

    def __init__(self, model):
        made_by = {output: node for node in model.graph.node for output in node.output}
        of_type = {
            kind: [node for node in model.graph.node if node.op_type == kind]
            for kind in ("Conv", "DeformConv", "GridSample")
        }
        weights = [node.input[1] for node in of_type["Conv"]]
        self.weights_in_fp32 = {weight for weight in weights if weight not in made_by}
        self.convolutions_in_8_bits = sum(
            made_by[weight].op_type == "DequantizeLinear" for weight in weights if weight in made_by
        )
        positions = [node.input[2] for node in of_type["DeformConv"]] + [
            node.input[1] for node in of_type["GridSample"]
        ]
        self.positions = [made_by[position].op_type for position in positions]
        self.scales = {node.input[0]: node.input[1:3] for node in model.graph.node if node.op_type == "QuantizeLinear"}
        self.constants = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}


@pytest.mark.parametrize("deformable", [False, True])
def test_deformable_layers_are_in_8_bits_only_if_asked_and_positions_never(file, network, deformable, tmp_path):
    before = onnx.load(file)
    decomposed = len(Parts(before).weights_in_fp32) == 8
    model = quantize(before, IMAGES, BRANCHES, deformable)
    parts = Parts(model)
    assert parts.positions == (["Concat", "Concat"] if decomposed else ["Split", "Split"])
    if deformable:
        assert not parts.weights_in_fp32
        assert parts.convolutions_in_8_bits == 7 + decomposed
    else:
        assert parts.weights_in_fp32 >= OF_DEFORMABLE_LAYERS
        assert parts.convolutions_in_8_bits == 3  # the first, the values of DCNv3, the last

    onnx.save(model, tmp_path / "int8.onnx")
    core = core_with_deform_conv()
    compiled = core.compile_model(core.read_model(tmp_path / "int8.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for image in IMAGES:
        wanted = network(image).detach()
        for got in (in_onnxruntime(tmp_path / "int8.onnx", image), compiled([image.numpy()])[0]):
            torch.testing.assert_close(torch.as_tensor(got), wanted, rtol=0, atol=0.05 * float(wanted.abs().max()))


def test_ranges_are_those_of_the_images(file):
    parts = Parts(quantize(onnx.load(file), IMAGES, BRANCHES, deformable=False))
    scale, zero = (parts.constants[name] for name in parts.scales["image"])
    least, most = min(float(image.min()) for image in IMAGES), max(float(image.max()) for image in IMAGES)
    assert (float(scale), int(zero)) == (pytest.approx((most - least) / 255), round(-least * 255 / (most - least)))


def test_without_images_there_is_nothing_to_measure(file):
    with pytest.raises(DcnrunError, match="onnxruntime can't quantize the network: No data is collected"):
        quantize(onnx.load(file), [], BRANCHES, deformable=False)


def test_calibration_takes_images_from_all_over_the_set_each_time(capsys):
    calibration = Calibration(range(9), 3, lambda sample: torch.full((1, 1, 1, 1), sample))
    assert [list(map(float, calibration)) for _ in range(2)] == [[0, 4, 8]] * 2
    assert "Measuring the ranges of 8-bit numbers on 3 training images." in capsys.readouterr().out
    assert (len(calibration), len(Calibration(range(9), 100, torch.tensor))) == (3, 9)
