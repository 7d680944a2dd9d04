"""The operator against two implementations of ONNX's DeformConv that nobody here wrote: onnxruntime and onnx.reference.

The operands go in as they are: DeformConv has the order of offsets and masks that `deform_conv2d` has.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcnrun.ops import deform_conv2d
from tests.ops.conformance import assert_close
from tests.ops.deform_conv2d.factories import make_problem, problems
from tests.ops.factories import examples

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

OPERANDS = {"X": "input", "W": "weight", "offset": "offset", "B": "bias", "mask": "mask"}


def as_model(problem, opset):
    """One DeformConv node, and what to feed it."""
    fed = {name: problem[operand].numpy() for name, operand in OPERANDS.items() if problem[operand] is not None}
    kernel = problem["weight"].shape[2:]
    node = onnx.helper.make_node(
        "DeformConv",
        [name if name in fed else "" for name in OPERANDS],
        ["Y"],
        kernel_shape=kernel,
        strides=problem["stride"],
        pads=[*problem["padding"], *problem["padding"]],
        dilations=problem["dilation"],
        group=problem["input"].shape[1] // problem["weight"].shape[1],
        offset_group=problem["offset"].shape[1] // (2 * kernel.numel()),
    )
    kind = onnx.helper.np_dtype_to_tensor_dtype(fed["X"].dtype)
    graph = onnx.helper.make_graph(
        [node],
        "one_node",
        [onnx.helper.make_tensor_value_info(name, kind, array.shape) for name, array in fed.items()],
        [onnx.helper.make_tensor_value_info("Y", kind, [None] * 4)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model)
    return model, fed


def in_onnxruntime(problem, opset=19):
    model, fed = as_model(problem, opset)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["Y"], fed)[0])


def in_reference(problem):
    from onnx.reference import ReferenceEvaluator

    model, fed = as_model(problem, opset=19)
    return torch.from_numpy(np.asarray(ReferenceEvaluator(model).run(["Y"], fed)[0]))


def assert_equal(problem, theirs):
    assert_close({"output": deform_conv2d(**problem)}, {"output": theirs}, relative=1e-5)


@examples(40)
@given(problem=problems(dtype=torch.float32, channels=[1, 2, 3, 5, 17, 33]), opset=st.sampled_from([19, 22]))
def test_equals_onnxruntime(problem, opset):
    assert_equal(problem, in_onnxruntime(problem, opset))


@pytest.mark.parametrize(
    "setting",
    [
        {"size": (1, 1), "kernel": (1, 1), "padding": (0, 0)},
        {"size": (1, 1), "kernel": (3, 3)},
        {"size": (13, 11), "kernel": (2, 4), "stride": (3, 3), "dilation": (4, 4), "padding": (3, 7)},
        {"channels": 1, "out_channels": 1, "batch": 1},
        {"channels": 12, "out_channels": 12, "groups": 12, "offset_groups": 4},
        {"channels": 6, "groups": 2, "offset_groups": 6, "size": (7, 17), "kernel": (7, 1), "padding": (3, 0)},
        {"spread": 0.0},
        {"spread": 1e6},
    ],
    ids=str,
)
def test_odd_settings_equal_onnxruntime(setting):
    problem = make_problem(**setting, dtype=torch.float32)
    assert_equal(problem, in_onnxruntime(problem))


def test_double_precision_equals_onnxruntime():
    problem = make_problem()
    assert_close({"output": deform_conv2d(**problem)}, {"output": in_onnxruntime(problem)}, relative=1e-12)


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e30, -3e9])
def test_far_samples_are_zero_in_onnxruntime_too(value):
    # A NaN is left out: onnxruntime takes such a sample for zero, where PyTorch's users expect a NaN to be seen.
    problem = make_problem(dtype=torch.float32)
    problem["offset"][:, 8:10, 2:4] = value
    assert_equal(problem, in_onnxruntime(problem))


def test_an_empty_batch_equals_onnxruntime():
    assert_equal(problem := make_problem(batch=0, dtype=torch.float32), in_onnxruntime(problem))


# Such as a loop in Python can do; maps of one row or column are left out: onnx.reference divides by the map's height and
# width less one, and fails there (onnx 1.23). torchvision and onnxruntime agree with us on such maps.
small_problems = problems(torch.float32, channels=[1], least_side=2, spare=2)


@examples(24)
@given(problem=small_problems)
def test_equals_the_reference_of_onnx(problem):
    assert_equal(problem, in_reference(problem))
