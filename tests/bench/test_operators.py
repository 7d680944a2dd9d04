"""The operators that are compared compute the same, from the same operands."""

import sys

import pytest
import torch

from dcnrun.bench.operators import (
    BOTH,
    CASES,
    CONV2D,
    FORWARD,
    ONNXRUNTIME,
    OURS,
    OURS_NCHW,
    TORCHVISION,
    Case,
    _operands,
    make_candidate,
    unavailable,
)

SMALL = Case(2, 4, 6, offset_groups=2)


def results(name, pass_, case=SMALL):
    return [torch.as_tensor(result) for result in make_candidate(name, case, torch.float32).passes[pass_]()]


@pytest.mark.parametrize("case", [SMALL, Case(1, 3, 5, kernel=1), Case(1, 2, 9, kernel=7)], ids=lambda case: case.name)
@pytest.mark.parametrize("name", [OURS_NCHW, TORCHVISION, ONNXRUNTIME])
def test_forward_passes_agree(name, case):
    if name == ONNXRUNTIME:
        pytest.importorskip("onnxruntime")
    torch.testing.assert_close(results(name, FORWARD, case), results(OURS, FORWARD, case), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [OURS_NCHW, TORCHVISION])
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


def test_the_floor_is_the_plain_convolution():
    output, grad_input, grad_weight = results(CONV2D, BOTH)
    torch.testing.assert_close(results(CONV2D, FORWARD)[0], output)
    assert (output.shape, grad_input.shape, grad_weight.shape) == ((2, 4, 6, 6), (2, 4, 6, 6), (4, 4, 3, 3))
    assert not torch.allclose(output, results(OURS, FORWARD)[0])


def test_layouts():
    """Ours and the floor answer in channels-last, since they were asked in it."""
    for name in (OURS, CONV2D):
        assert results(name, FORWARD)[0].is_contiguous(memory_format=torch.channels_last)
    for name in (OURS_NCHW, TORCHVISION):
        assert results(name, FORWARD)[0].is_contiguous()


def test_cases():
    reference = [case.name for case in CASES if case.reference]
    assert reference == [
        "N2 C64 64x64",
        "N2 C128 32x32",
        "N2 C256 32x32",
        "N1 C256 64x64",
        "N2 C256 32x32 4 offset groups",
    ]
    sizes = {(case.size, case.kernel) for case in CASES}
    assert {56, 14} <= {size for size, _ in sizes}
    assert {1, 7} <= {kernel for _, kernel in sizes}


def test_columns_of_torchvision():
    """9 taps x 64 channels x 64 x 64 pixels x 2 images x 4 bytes; no more than 32 images at a time."""
    assert Case(2, 64, 64).columns_bytes(torch.float32) == 9 * 64 * 64 * 64 * 2 * 4
    assert Case(64, 1, 1).columns_bytes(torch.float64) == 9 * 32 * 8


def test_peers_that_are_not_there(monkeypatch):
    assert TORCHVISION in unavailable(torch.bfloat16)
    assert TORCHVISION not in unavailable(torch.float32)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "onnxruntime" in unavailable(torch.float32)[ONNXRUNTIME]


def test_offsets_deform():
    """Not the plain convolution: offsets are N(0, 1), masks between 0 and 1."""
    _, offset, mask, _, _ = _operands(Case(2, 8, 32), torch.float32, torch.contiguous_format)
    assert (float(offset.mean()), float(offset.std())) == pytest.approx((0, 1), abs=0.02)
    assert 0 < float(mask.min()) < float(mask.max()) < 1
