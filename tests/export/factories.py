"""Layers to export, and what is in the files that come of it."""

import numpy as np
import torch
from torch import nn

from dcnrun.export.description import Description
from dcnrun.export.targets import Precision
from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d
from dcnrun.models.deform_sampling import DCNv3


def randomised(layer):
    """A deformable layer with offsets of some pixels and masks of all sizes."""
    for parameter in layer.offset_branch.parameters():
        nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(0))
    return layer


def in_onnxruntime(file, image):
    """The scores that onnxruntime computes from a file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"image": np.asarray(image)})[0]


def operators(file):
    """The names of a file's operators, each as often as it occurs; all are the standard's own."""
    import onnx

    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain for entry in model.opset_import} == {""}
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    return [node.op_type for node in model.graph.node]


def assert_equal(got, wanted):
    torch.testing.assert_close(torch.as_tensor(got), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def several_kinds():
    """A network of deformable layers with offsets of some pixels: groups, strides, dilations, no two sides alike."""
    torch.manual_seed(0)
    layers = [
        ModulatedDeformConv2d(
            4, 6, (2, 3), stride=(2, 1), padding=(1, 2), dilation=(1, 3), offset_groups=2, bias=False
        ),
        DeformConv2d(6, 8, 3, padding=1, stride=(1, 2), groups=2, offset_groups=3),
        DCNv3(8, 8, 3, padding=2, dilation=2, groups=2),
    ]
    for layer in layers:
        for parameter in layer.offset_branch.parameters():
            nn.init.normal_(parameter, std=0.5)
    return nn.Sequential(*layers).eval()


def images_of_all_sides():
    """Batches for `several_kinds`; in one all maps are rows, in another most are columns."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for shape in [(2, 4, 9, 14), (1, 4, 1, 23), (3, 4, 19, 3)]]


DESCRIPTION = Description(
    classes=("sky", 'a "tree", [old]', "Straße"),
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    bands=(),
    of_bytes=True,
    normalises=False,
    size=None,
    size_rule="any: images as they are",
    licence="unknown",
    checkpoint="best",
    step=7,
    config="seed: 1\n",
    precision=Precision.fp32,
    decomposed=False,
)
