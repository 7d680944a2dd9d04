"""Layers to export, and what is in the files that come of it."""

import numpy as np
import torch
from torch import nn


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
