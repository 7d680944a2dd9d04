"""Networks as OpenVINO's IR, which stands alone: OpenVINO computes what PyTorch computes without anything of dcnrun."""

import numpy as np
import pytest
import torch

from dcnrun.errors import DataError, DcnrunError
from dcnrun.export.exporting import exporting
from dcnrun.export.formats import open_exported
from dcnrun.export.openvino import OpenvinoNetwork, core_with_deform_conv
from dcnrun.export.targets import Precision, Settings, Target
from dcnrun.models.conv import DeformConv2d
from dcnrun.ops import deform_conv2d
from tests.export.factories import assert_equal, images_of_all_sides, several_kinds

openvino = pytest.importorskip("openvino")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("torchlib_parsed_once")

METADATA = {"8-bit images": "true", "config": 'a: 1\n<b> "é" &amp; \n', "empty": "", "step": "7"}


@pytest.fixture(scope="module")
def file(tmp_path_factory, torchlib_parsed_once):
    file = tmp_path_factory.mktemp("openvino") / "network.xml"
    with exporting(several_kinds(), images_of_all_sides()[0], file, Target.openvino, metadata=METADATA) as export:
        pass
    assert sorted(file.parent.iterdir()) == sorted(export.files) == [file.with_suffix(".bin"), file]
    return file


def test_every_kind_of_layer(file):
    core, network = openvino.Core(), several_kinds()
    compiled = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for images in images_of_all_sides():
        assert_equal(compiled({"image": images.numpy()})["scores"], network(images).detach())


def test_deformable_layers_are_openvinos_own(file):
    operations = [each for each in openvino.Core().read_model(file).get_ops() if "Deform" in each.get_type_name()]
    assert {each.get_type_name() for each in operations} == {"DeformableConvolution"}
    assert all(each.get_attributes()["bilinear_interpolation_pad"] for each in operations)


@pytest.mark.parametrize(("groups", "offset_groups"), [(2, 1), (2, 2), (4, 2), (2, 4), (16, 2)])
@pytest.mark.parametrize("masked", [True, False])
def test_groups_of_weights(groups, offset_groups, masked, tmp_path):
    """Few are a convolution each, for OpenVINO has nothing fast for groups."""
    torch.manual_seed(0)
    image, weight, bias = torch.randn(2, 16, 6, 7), torch.randn(16, 16 // groups, 3, 3), torch.randn(16)
    offset, mask = torch.randn(2, 18 * offset_groups, 6, 7), torch.rand(2, 9 * offset_groups, 6, 7) if masked else None
    operands = {"image": image, "weight": weight, "offset": offset, "bias": bias, "mask": mask}
    given = {name: operand.numpy() for name, operand in operands.items() if operand is not None}
    infos = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, given[name].shape) for name in given]
    output = onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, image.shape)
    attributes = {
        "group": groups,
        "offset_group": offset_groups,
        "pads": [1] * 4,
        "strides": [1, 1],
        "dilations": [1, 1],
    }
    node = onnx.helper.make_node("DeformConv", list(given), ["scores"], **attributes)
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "layer", infos, [output])), tmp_path / "layer.onnx")
    model = core_with_deform_conv().read_model(tmp_path / "layer.onnx")
    got = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(given)["scores"]
    assert_equal(got, deform_conv2d(image, offset, weight, bias, padding=1, mask=mask))
    operations = [each for each in model.get_ops() if each.get_type_name() == "DeformableConvolution"]
    assert len(operations) == (groups if groups <= 8 else 1)


def test_a_file_says_what_it_is(file):
    assert open_exported(file).metadata == METADATA


def test_an_input_that_will_not_do(file):
    with pytest.raises(DcnrunError, match=r"OpenVINO fails on an input of shape \(1, 3, 8, 8\)"):
        open_exported(file).run(torch.zeros(1, 3, 8, 8))


def test_normalised_images_are_not_cut_to_whole_numbers(tmp_path):
    """OpenVINO makes 0 of 0.4 and 255 of -1 where the input of somebody's file is of bytes."""
    from openvino import Model, opset13

    pixels = opset13.parameter([-1, 3, -1, -1], np.uint8)
    openvino.save_model(Model([opset13.convert(pixels, np.float32)], [pixels]), tmp_path / "theirs.xml")
    network = OpenvinoNetwork(tmp_path / "theirs.xml")
    with pytest.raises(DataError, match=r"theirs\.xml takes whole numbers \(u8\)"):
        network.outputs(torch.rand(1, 3, 4, 4))
    assert (network.outputs(torch.full((1, 3, 4, 4), 7, dtype=torch.uint8))[0] == 7).all()


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "model.xml").write_text("<net>")
    with pytest.raises(DcnrunError, match=r"OpenVINO can't run model\.xml"):
        open_exported(tmp_path / "model.xml")


def test_weights_of_16_bits_and_a_fixed_size(tmp_path):
    torch.manual_seed(0)
    layer, file, image = DeformConv2d(8, 8, 3, padding=1), tmp_path / "layer.xml", torch.randn(1, 8, 6, 7)
    settings = Settings(size=(6, 7), precision=Precision.fp16)
    with exporting(layer, image, file, Target.openvino, settings) as export:
        assert max(comparison.share for comparison in export.comparisons) > 1e-5
    weights = sum(parameter.numel() for parameter in layer.parameters())
    assert file.with_suffix(".bin").stat().st_size < 2.5 * weights
    assert openvino.Core().read_model(file).input("image").partial_shape.to_string() == "[?,8,6,7]"
