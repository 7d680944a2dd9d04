"""Deformable layers as GridSample and convolutions: right at the borders, and for maps of one row or column.

DeformConv nodes are tested in test_onnx.py.
"""

import pytest
import torch
from torch import nn

from dcnrun.errors import UsageError
from dcnrun.export.exporting import exporting
from dcnrun.export.onnx import onnx_translations
from dcnrun.export.targets import Precision, Settings
from dcnrun.ops.deform_roi_pool import deform_roi_pool
from tests.export.factories import assert_equal, images_of_all_sides, in_onnxruntime, operators, several_kinds

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.usefixtures("torchlib_parsed_once")


def grid_samples(file):
    """The modes of a file's GridSample nodes; there is no DeformConv."""
    names = operators(file)
    assert "DeformConv" not in names
    nodes = [node for node in onnx.load(file).graph.node if node.op_type == "GridSample"]
    attributes = [{each.name: onnx.helper.get_attribute_value(each) for each in node.attribute} for node in nodes]
    assert {(each["padding_mode"], each["align_corners"]) for each in attributes} == {(b"zeros", 0)}
    return [each["mode"].decode() for each in attributes]


def test_every_kind_of_layer(tmp_path):
    network, file = several_kinds(), tmp_path / "decomposed.onnx"
    with exporting(network, images_of_all_sides()[0], file, settings=Settings(decompose=True)):
        pass
    assert grid_samples(file) == ["bilinear"] * 3
    assert onnx.load(file).opset_import[0].version == 18
    for images in images_of_all_sides():
        assert_equal(in_onnxruntime(file, images), network(images).detach())


def test_a_later_standard_and_weights_of_16_bits(tmp_path):
    """The mode has another name there; positions stay in fp32: in fp16 they would be 0.25 of a pixel apart past 512."""
    network, file = several_kinds()[1], tmp_path / "half.onnx"
    settings = Settings(opset=21, decompose=True, precision=Precision.fp16)
    with exporting(network, torch.randn(1, 6, 9, 9), file, settings=settings):
        pass
    assert grid_samples(file) == ["linear"]
    images = torch.zeros(1, 6, 2, 2600)
    images[..., 2400:] = torch.randn(1, 6, 2, 200)
    wanted = network(images).detach()
    got = torch.as_tensor(in_onnxruntime(file, images))
    torch.testing.assert_close(got, wanted, rtol=0, atol=0.02 * float(wanted.abs().max()))


def test_a_standard_that_is_too_old(tmp_path):
    refused = pytest.raises(UsageError, match="opset 17: it must be 18, the first that PyTorch writes, to 2")
    with (
        refused,
        exporting(
            several_kinds(), images_of_all_sides()[0], tmp_path / "a.onnx", settings=Settings(17, decompose=True)
        ),
    ):
        pass


class Pools(nn.Module):
    """Regions pooled by both rules of coordinates, with offsets of up to a side and a mask, and without either."""

    def forward(self, image, rois, offset, mask):
        settings = {"output_size": (3, 2), "spatial_scale": 0.5, "sampling_ratio": 2, "gamma": 0.5}
        moved = deform_roi_pool(image, rois, offset, mask=mask, aligned=True, **settings)
        return (
            moved,
            deform_roi_pool(image, rois, offset, aligned=False, **settings),
            deform_roi_pool(image, rois, None, aligned=False, **settings),
        )


def test_deformable_roi_pooling():
    """At the border and beyond it too, for as many regions as there are."""
    import onnxruntime

    generator = torch.Generator().manual_seed(0)

    def operands(count):
        corners = 30 * torch.rand(count, 2, generator=generator) - 5
        ends = corners + 25 * torch.rand(count, 2, generator=generator)
        rois = torch.cat([torch.zeros(count, 1), corners, ends], 1)
        offset = 2 * torch.rand(count, 2, 3, 2, generator=generator) - 1
        mask = torch.rand(count, 1, 3, 2, generator=generator)
        return torch.randn(1, 4, 9, 14, generator=generator), rois, offset, mask

    names = ["image", "rois", "offset", "mask"]
    free = (None, *[{0: "regions"}] * 3)
    translations = onnx_translations()
    program = torch.onnx.export(
        Pools(), operands(5), dynamo=True, verbose=False, opset_version=19, input_names=names, dynamic_shapes=free,
        custom_translation_table=translations,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for count in (40, 1, 0):
        given = operands(count)
        found = session.run(None, {name: operand.numpy() for name, operand in zip(names, given, strict=True)})
        for got, wanted in zip(found, Pools()(*given), strict=True):
            torch.testing.assert_close(torch.from_numpy(got), wanted, rtol=1e-4, atol=1e-4)
