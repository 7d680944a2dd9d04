"""What is remembered of the form of operands, with operands of one tensor and some settings."""

from typing import NamedTuple

import pytest
import torch

from dcnrun.ops.common import forms
from dcnrun.ops.common.forms import Formed, once_a_form


class Arguments(NamedTuple):
    input: torch.Tensor
    mask: torch.Tensor | None = None
    stride: list[int] | tuple[int, int] = (1, 1)
    scale: float = 1.0


class Operands(Arguments, Formed):
    pass


@pytest.fixture
def makes(monkeypatch):
    """What was made, by a function that makes the input's shape."""
    monkeypatch.setattr(forms, "_made", {})
    made = []

    @once_a_form
    def shape(operands):
        made.append(operands)
        return operands.input.shape

    return shape, made


def test_alike_are_all_that_differ_in_values_alone(makes):
    shape, made = makes
    alike = Operands(torch.zeros(2, 3)), Operands(torch.ones(2, 3), stride=[1, 1])
    assert [shape(operands) for operands in (*alike, *alike)] == [(2, 3)] * 4
    assert made == [alike[0]]


@pytest.mark.parametrize(
    "other",
    [
        Operands(torch.zeros(3, 2)),
        Operands(torch.zeros(3, 2).mT),
        Operands(torch.zeros(2, 3, dtype=torch.float64)),
        Operands(torch.zeros(2, 3, device="meta")),
        Operands(torch.zeros(2, 3), torch.zeros(2, 3)),
        Operands(torch.zeros(2, 3), stride=[1, 2]),
        Operands(torch.zeros(2, 3), scale=0.5),
    ],
    ids=["shape", "strides", "dtype", "device", "mask", "stride", "scale"],
)
def test_others_are_made_anew(makes, other):
    shape, made = makes
    shape(Operands(torch.zeros(2, 3)))
    assert shape(other) == other.input.shape
    assert len(made) == 2


def test_each_function_makes_its_own(makes):
    shape, _ = makes
    strides = once_a_form(lambda operands: operands.input.stride())
    operands = Operands(torch.zeros(2, 3))
    assert (shape(operands), strides(operands), shape(operands)) == ((2, 3), (3, 1), (2, 3))


def test_operands_with_something_replaced_have_a_form_of_their_own(makes):
    shape, _ = makes
    operands = Operands(torch.zeros(2, 3))
    shape(operands)
    assert shape(operands._replace(input=torch.zeros(4))) == (4,)


def test_no_failure_is_remembered(makes):
    @once_a_form
    def fail(operands):
        raise ValueError(operands.scale)

    for operands in [Operands(torch.zeros(1))] * 2:
        with pytest.raises(ValueError, match=r"1\.0"):
            fail(operands)


def test_few_forms_are_remembered(makes, monkeypatch):
    shape, made = makes
    monkeypatch.setattr(forms, "MOST_FORMS", 3)
    for size in range(10):
        assert shape(Operands(torch.zeros(size))) == (size,)
        assert len(forms._made) <= 3
    shape(Operands(torch.zeros(9)))
    assert len(made) == 10


def test_no_tensor_is_kept(makes):
    """Of operands that are gone, the form is left."""
    shape, made = makes
    input = torch.zeros(2, 3)
    shape(Operands(input))
    made.clear()
    reference = torch.multiprocessing.reductions.StorageWeakRef(input.untyped_storage())
    del input
    assert reference.expired()
