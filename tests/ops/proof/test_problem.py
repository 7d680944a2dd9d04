"""What tells right from wrong: the problems' numbers are exact, whoever adds them up in whatever order."""

import math
from dataclasses import replace

import pytest
import torch

from dcnrun.ops.common.dispatch import Backend
from dcnrun.ops.deform_roi_pool.arguments import regions
from dcnrun.ops.proof.child import subject_of
from dcnrun.ops.proof.problem import Numbers, Problem, definition, differences, results
from dcnrun.ops.proof.verdict import EVERY_WORK

OPERATORS = ("deform_conv2d", "deform_roi_pool", "deform_sample2d")
CPU = torch.device("cpu")
MOST_BITS = 24  # of fp32


def of(operator, seed=0):
    subject = subject_of(operator)
    return subject, subject.problems(seed)


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_definition_in_fp32_has_the_bits_of_fp64(operator):
    """Which it would not if any sum of it were rounded."""
    subject, problems = of(operator, seed=1)
    for problem in problems:
        wanted = definition(subject, problem)
        assert differences(problem, results(subject, Backend.REFERENCE, problem, torch.float32, CPU), wanted) == {}
        assert set(wanted) == {"output", *(problem.wanted or [n for n in subject.differentiated if n in wanted])}


def absolute(problem):
    """The same with all terms of one sign, so that results are the sums of absolute values; slopes apart."""
    operands = problem.operands
    positive = {
        name: value.abs()
        for name, value in operands._asdict().items()
        if torch.is_tensor(value) and name in ("input", "weight", "bias", "mask")
    }
    return replace(problem, operands=operands._replace(**positive), grad_output=problem.grad_output.abs())


@pytest.mark.parametrize("operator", OPERATORS)
def test_no_sum_has_more_bits_than_fp32(operator):
    """Every term is a multiple of the smallest step of any result, and no sum of absolute values reaches 2^24 of these."""
    subject, problems = of(operator)
    for problem in problems:
        if problem.roundings or not problem.operands.input.isfinite().all():
            continue
        wanted = definition(subject, problem)
        for name, most in definition(subject, absolute(problem)).items():
            if name == "offset":  # the slopes of samples, differences of four pixels, times the gradients of columns
                most = torch.tensor(largest_slope(operator, problem.operands))
            step = smallest_step(wanted[name])
            assert most.nan_to_num(0, 0, 0).max().item() < step * 2**MOST_BITS, (problem.name, name)


def largest_slope(operator, operands):
    """What the absolute values of the terms of an offset's gradient add up to at most."""
    if operator == "deform_roi_pool":  # a bin's pixels have weights of 1 in all, and slopes of 2
        moved_by = operands.gamma * regions(operands).size.nan_to_num(0, 0, 0).abs().max().item()
        return 2.0 * 2 * 3 * operands.output_shape[1] // operands.groups * moved_by
    channels = operands.input.shape[1] // (operands.offset_groups if operator == "deform_conv2d" else operands.groups)
    of_column = operands.weight.shape[0] // operands.groups if operator == "deform_conv2d" else operands.offset_scale
    return 2.0 * 2 * 3 * channels * of_column * 2


def smallest_step(values):
    """The largest power of two that all values are multiples of."""
    finite, step = values[values.isfinite()].abs(), 1.0
    while finite.numel() and (finite / step != (finite / step).floor()).any():
        step /= 2
    assert step > 2**-20
    return step


@pytest.mark.parametrize("operator", OPERATORS)
def test_half_precision_holds_the_operands_and_what_is_kept_on_the_way(operator):
    """The gradient of a column of the convolution is a sum over as many ones as there are output channels in a group."""
    subject, problems = of(operator)
    problems += [subject.timed(work) for work in EVERY_WORK[:1] if subject.timed]
    for problem in problems:
        for name in subject.stored:
            value = getattr(problem.operands, name)
            if value is not None:
                assert torch.equal(value.bfloat16().float(), value)
                assert torch.equal(value.half().float(), value)
        if operator == "deform_conv2d":
            assert problem.operands.weight.shape[0] // problem.operands.groups <= 256
            assert set(problem.operands.weight.unique().tolist()) == {-1, 1}
            assert set(problem.grad_output.unique().tolist()) <= {-1, 1}


@pytest.mark.parametrize("operator", OPERATORS)
def test_names_are_unique_and_seeds_give_other_numbers(operator):
    _, problems = of(operator)
    names = [problem.name for problem in problems]
    assert len(set(names)) == len(names) >= 12
    again, others = of(operator)[1], of(operator, seed=1)[1]
    for problem, same, other in zip(problems, again, others, strict=True):
        assert torch.equal(problem.operands.input, same.operands.input)
        assert problem.operands.input.numel() < 4 or not torch.equal(problem.operands.input, other.operands.input)


NOTHING = Problem("nothing", None, torch.zeros(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_bit_is_a_difference(dtype):
    wanted = torch.tensor([[1.0, 1 / 3, -2.0, math.nan, math.inf]], dtype=torch.float64)
    right = wanted.to(dtype)
    assert differences(NOTHING, {"output": right}, {"output": wanted}) == {}
    for i in range(5):
        off = right.clone()
        off[0, i] = torch.nextafter(right[0, i], torch.tensor(9, dtype=dtype)) if i < 3 else 0.0
        found = differences(NOTHING, {"output": off}, {"output": wanted})["output"]
        assert found.startswith(f"1 of 5 wrong; at [0, {i}] ")


def test_nan_where_there_should_be_a_number():
    wanted = torch.ones(2, dtype=torch.float64)
    got = {"output": torch.tensor([1.0, math.nan])}
    assert differences(NOTHING, got, {"output": wanted}) == {"output": "1 of 2 wrong; at [1] nan instead of 1"}


@pytest.mark.parametrize(("off", "is_right"), [(7 * 2**-24 * 3, True), (9 * 2**-24 * 3, False)])
def test_where_roundings_are_counted(off, is_right):
    problem = replace(NOTHING, roundings=8, bounds={"output": 3.0})
    wanted = {"output": torch.full((1,), 1.0, dtype=torch.float64)}
    assert (differences(problem, {"output": (wanted["output"] + off).float()}, wanted) == {}) is is_right


def test_numbers_have_few_bits():
    numbers = Numbers(3)
    assert set(numbers.features(1000).unique().tolist()) == {-3, -2, -1, 1, 2, 3}
    assert set(numbers.signs(1000).unique().tolist()) == {-1, 1}
    assert {abs(value) for value in numbers.factors(1000).unique().tolist()} == {0.5, 1, 2}
    quarters = numbers.quarters(2.5, 10_000)
    assert (quarters.min(), quarters.max()) == (-2.5, 2.5)
    assert torch.equal((4 * quarters).round(), 4 * quarters)
    border = set(numbers.around_the_border(9, 10_000).unique().tolist())
    assert {-1, 0, 8, 9, 9.5} < border
    odd = numbers.with_some_odd(torch.zeros(10_000))
    assert 0.01 < odd.isnan().float().mean() < 0.05
    assert odd.isinf().any()
