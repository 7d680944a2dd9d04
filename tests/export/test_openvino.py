"""Networks as OpenVINO's IR, which stands alone: OpenVINO computes what PyTorch computes without anything of dcnrun."""

import pytest
import torch

from dcnrun.errors import DcnrunError
from dcnrun.export.exporting import exporting
from dcnrun.export.formats import open_exported
from dcnrun.export.targets import Precision, Settings, Target
from dcnrun.models.conv import DeformConv2d
from tests.export.factories import assert_equal, images_of_all_sides, several_kinds

openvino = pytest.importorskip("openvino")
pytest.importorskip("onnx")
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
    assert [each.get_type_name() for each in operations] == ["DeformableConvolution"] * 3
    assert all(each.get_attributes()["bilinear_interpolation_pad"] for each in operations)


def test_a_file_says_what_it_is(file):
    assert open_exported(file).metadata == METADATA


def test_an_input_that_will_not_do(file):
    with pytest.raises(DcnrunError, match=r"OpenVINO fails on an input of shape \(1, 3, 8, 8\)"):
        open_exported(file).run(torch.zeros(1, 3, 8, 8))


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
