"""The operators that are compared compute the same, from the same operands."""

import sys
from dataclasses import replace

import pytest
import torch
import torchvision.ops

from dcnrun.bench.operators import (
    BACKWARD,
    BOTH,
    CONV2D,
    CPU,
    DEFORMOPS,
    FORWARD,
    ONNXRUNTIME,
    OPENVINO,
    OURS,
    OURS_DETERMINISTIC,
    OURS_NCHW,
    SAMPLING,
    TORCHVISION,
    TORCHVISION_FP16,
    TORCHVISION_FP32,
    Case,
    _operands,
    dtype_of,
    make_candidate,
    unavailable,
)

SMALL = Case(2, 4, 6, offset_groups=2)


def results(name, pass_, case=SMALL, dtype=torch.float32, positions=None):
    candidate = make_candidate(name, case, dtype, CPU, positions)
    return [torch.as_tensor(result) for result in candidate[pass_]()]


@pytest.mark.parametrize("case", [SMALL, Case(1, 3, 5, kernel=1), Case(1, 2, 9, kernel=7)], ids=lambda case: case.name)
@pytest.mark.parametrize("name", [OURS_NCHW, TORCHVISION, ONNXRUNTIME, OPENVINO, DEFORMOPS])
def test_forward_passes_agree(name, case):
    if name in (ONNXRUNTIME, OPENVINO, DEFORMOPS):
        pytest.importorskip(name)
    torch.testing.assert_close(results(name, FORWARD, case), results(OURS, FORWARD, case), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [OURS_NCHW, OURS_DETERMINISTIC, TORCHVISION, TORCHVISION_FP32])
def test_gradients_agree(name):
    """The output, then the gradients of input, offset, mask and weight."""
    ours, theirs = results(OURS, BOTH), results(name, BOTH)
    assert [tuple(result.shape) for result in ours] == [
        (2, 4, 6, 6),
        (2, 4, 6, 6),
        (2, 36, 6, 6),
        (2, 18, 6, 6),
        (4, 4, 3, 3),
    ]
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)


def test_sampling_has_groups_of_16_channels_and_no_weight():
    case = Case(1, 32, 5)
    output, *gradients = results(SAMPLING, BOTH, case)
    assert [tuple(each.shape) for each in gradients] == [(1, 32, 5, 5), (1, 36, 5, 5), (1, 18, 5, 5)]
    groups = replace(case, offset_groups=2)
    input, offset, mask, *_ = _operands(groups, torch.float32, torch.float32, torch.channels_last, CPU)
    one_each = torch.ones(32, 1, 3, 3)
    torch.testing.assert_close(output, torchvision.ops.deform_conv2d(input, offset, one_each, padding=1, mask=mask))


@pytest.mark.parametrize("name", [OURS, OURS_DETERMINISTIC, TORCHVISION, CONV2D])
def test_the_backward_pass_alone(name):
    """The same gradients, time after time."""
    _, *gradients = results(name, BOTH)
    work = make_candidate(name, SMALL, torch.float32)[BACKWARD]
    for _ in range(3):
        torch.testing.assert_close(work(), gradients)


def test_the_deterministic_one_switches_for_itself_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "dcnrun.bench.operators.deform_conv2d",
        lambda input, *_, **__: asked.append(torch.are_deterministic_algorithms_enabled()) or input * 2,
    )
    for name in (OURS, OURS_DETERMINISTIC, OURS):
        make_candidate(name, SMALL, torch.float32)[FORWARD]()
    assert asked == [False, True, False]
    assert not torch.are_deterministic_algorithms_enabled()


def test_dtypes():
    def dtypes(*arguments, **named):
        return [result.dtype for result in results(*arguments, **named)]

    half, full = torch.bfloat16, torch.float32
    assert dtypes(OURS, BOTH, dtype=half) == [half] * 5
    assert dtypes(OURS, BOTH, dtype=half, positions=full) == [half, half, full, full, half]
    assert dtypes(TORCHVISION_FP32, BOTH, dtype=half) == [full] * 5
    assert dtype_of(TORCHVISION_FP16, full) == torch.float16
    assert {dtype_of(name, half) for name in (OURS, OURS_DETERMINISTIC, TORCHVISION, CONV2D)} == {half}


def test_the_floor_is_the_plain_convolution():
    output, grad_input, grad_weight = results(CONV2D, BOTH)
    torch.testing.assert_close(results(CONV2D, FORWARD)[0], output)
    assert (output.shape, grad_input.shape, grad_weight.shape) == ((2, 4, 6, 6), (2, 4, 6, 6), (4, 4, 3, 3))
    assert not torch.allclose(output, results(OURS, FORWARD)[0])


def test_layouts():
    """Ours and the floor answer in channels-last, since they were asked in it."""
    for name in (OURS, OURS_DETERMINISTIC, CONV2D):
        assert results(name, FORWARD)[0].is_contiguous(memory_format=torch.channels_last)
    for name in (OURS_NCHW, TORCHVISION, TORCHVISION_FP32):
        assert results(name, FORWARD)[0].is_contiguous()


def test_maps_that_are_no_squares():
    case = Case(2, 4, (5, 7), offset_groups=4)
    assert case.name == "N2 C4 5x7 4 offset groups"
    assert results(OURS, FORWARD, case)[0].shape == (2, 4, 5, 7)
    torch.testing.assert_close(results(OURS, FORWARD, case), results(TORCHVISION, FORWARD, case), rtol=1e-4, atol=1e-4)
    assert case.columns_bytes(torch.float16) == 9 * 4 * 35 * 2 * 2


def test_the_least_that_is_read():
    """Input and weight, in bytes."""
    case = Case(2, 4, (5, 7), kernel=5)
    assert case.least_operand_bytes(torch.float32) == 4 * (2 * 4 * 5 * 7 + 4 * 4 * 5 * 5)
    read = make_candidate(CONV2D, case, torch.float32)[BACKWARD]()  # their gradients are as large
    assert sum(result.nbytes for result in read) == case.least_operand_bytes(torch.float32)


def test_columns_of_torchvision():
    """9 points x 64 channels x 64 x 64 pixels x 2 images x 4 bytes; no more than 32 images at a time."""
    assert Case(2, 64, 64).columns_bytes(torch.float32) == 9 * 64 * 64 * 64 * 2 * 4
    assert Case(64, 1, 1).columns_bytes(torch.float64) == 9 * 32 * 8


def test_peers_that_are_not_there(monkeypatch):
    peers = (TORCHVISION, ONNXRUNTIME, CONV2D)
    assert TORCHVISION in unavailable(peers, torch.bfloat16)
    assert TORCHVISION not in unavailable(peers, torch.float32)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "onnxruntime" in unavailable(peers, torch.float32)[ONNXRUNTIME]
    assert unavailable([CONV2D], torch.float32) == {}


def test_offsets_deform():
    """Not the plain convolution: offsets are N(0, 1), masks between 0 and 1."""
    _, offset, mask, _, _ = _operands(Case(2, 8, 32), torch.float32, torch.float32, torch.contiguous_format, CPU)
    assert (float(offset.mean()), float(offset.std())) == pytest.approx((0, 1), abs=0.02)
    assert 0 < float(mask.min()) < float(mask.max()) < 1
