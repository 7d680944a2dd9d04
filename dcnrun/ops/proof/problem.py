"""Problems on which kernels prove themselves, and what tells a right answer from a wrong one.

**Why nothing but equality passes.** Inputs are integers from -3 to 3, weights and the output's gradient 1 or -1, positions multiples of
1/4, and factors powers of two from 1/2 to 2. So every term of a result is a multiple of some 2^-k, and the absolute values of all terms
of a sum add up to less than 2^(24 - k): fp32, which has 24 bits, holds every partial sum exactly, in whatever order and in however
many parts it is taken. (k is at most 5, but for the pooling of RoIs, where steps are finer and sums smaller.) Atomic operations and
fused multiply-adds change nothing. What kernels keep in half precision on the way fits in the 8 bits of bf16: a sample is a multiple of
1/16 up to 3, times a power of two, and the gradient of a column an integer up to 256. So the definition in fp64 is the one right
answer: results in fp32 are equal to it, and those in half precision are the number nearest to it, rounded once. A test adds up the
absolute values of every problem.

Where a function is not exact (the exponentials of a softmax), a problem says how many roundings of fp32, each of at most 2^-24 of the
sum of the absolute values of all terms, lie between the operands and a result, and what that sum is at most.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from dcnrun.ops.common.dispatch import Backend, Kernels
from dcnrun.ops.proof.verdict import Work

Results = dict[str, Tensor]
_ROUNDING = 2.0**-24  # of fp32, relative


class Numbers:
    """Random numbers of few bits, the same for the same seed; all tensors are fp32, on the CPU."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def choose(self, values: Sequence[float], *shape: int) -> Tensor:
        """Return a tensor of some of these values."""
        index = torch.randint(len(values), shape, generator=self.generator)
        return torch.tensor(values, dtype=torch.float32)[index]

    def features(self, *shape: int) -> Tensor:
        """Integers from -3 to 3, none of them 0: that a number is left out always shows."""
        return self.choose((-3, -2, -1, 1, 2, 3), *shape)

    def signs(self, *shape: int) -> Tensor:
        """Ones and minus ones."""
        return self.choose((-1, 1), *shape)

    def factors(self, *shape: int) -> Tensor:
        """Factors of samples, which need no further bits."""
        return self.choose((-2, -1, -0.5, 0.5, 1, 2), *shape)

    def quarters(self, spread: float, *shape: int) -> Tensor:
        """Multiples of 1/4 from -spread to spread."""
        most = int(4 * spread)
        return torch.randint(-most, most + 1, shape, generator=self.generator).float() / 4

    def around_the_border(self, side: int, *shape: int) -> Tensor:
        """Positions along an axis of so many pixels: on both borders, beside them, and one pixel outside, where samples end."""
        end = (side - 1.25, side - 1, side - 0.5, side - 0.25, side, side + 0.5)
        return self.choose((-1.25, -1, -0.75, 0, 0.5, *end), *shape)

    def with_some_odd(self, values: Tensor) -> Tensor:
        """Return values of which some are NaN or infinite."""
        odd = self.choose((math.nan, math.inf, -math.inf), *values.shape)
        return torch.where(self.quarters(10, *values.shape) > 9, odd, values)


@dataclass(frozen=True)
class Problem:
    """Operands, in fp32 on the CPU, whose results are known.

    Attributes:
        name: what reports call it.
        operands: the operator's named tuple.
        grad_output: the gradient of its output.
        wanted: the operands that gradients are computed of, by name; None stands for all.
        peer: whether torchvision's operator is asked too.
        roundings: of fp32 between the operands and a result; 0 where all is exact.
        bounds: for each result, what the absolute values of its terms add up to at most.
    """

    name: str
    operands: Any
    grad_output: Tensor
    wanted: tuple[str, ...] | None = None
    peer: bool = True
    roundings: int = 0
    bounds: Mapping[str, float] = field(default_factory=dict)

    def changed(self, name: str, peer: bool | None = None, **operands: Tensor) -> "Problem":
        """Return the same problem with other operands."""
        changed = self.operands._replace(**operands)
        return replace(self, name=name, operands=changed, peer=self.peer if peer is None else peer)


class Computes(Protocol):
    """An operator's `dispatch` module: it computes by whatever backend it is told."""

    KERNELS: dict[str, Kernels[Any]]

    def forward_on(self, backend: Backend, operands: Any, output: Tensor) -> None:
        """Write the result."""

    def backward_on(self, backend: Backend, grad_output: Tensor, operands: Any, grads: list[Tensor | None]) -> None:
        """Write the gradients to those of `grads` that are tensors."""


@dataclass(frozen=True)
class Subject:
    """An operator whose kernels prove themselves.

    Attributes:
        name: of the operator and of its kernels' source.
        computes: its `dispatch` module.
        stored: the operands that kernels store in their dtype; positions and masks stay in fp32.
        differentiated: the operands that it has gradients of, in the order of its backward.
        problems: makes the problems from a seed.
        timed: makes a problem of a class of calls, to time ours against torchvision's; None where torchvision has no such operator.
    """

    name: str
    computes: Computes
    stored: tuple[str, ...]
    differentiated: tuple[str, ...]
    problems: Callable[[int], list[Problem]]
    timed: Callable[[Work], Problem] | None = None


def results(subject: Subject, backend: Backend, problem: Problem, dtype: torch.dtype, device: torch.device) -> Results:
    """Compute a problem's output and gradients with a backend, from operands stored in a dtype; by name, on the device.

    What is to be written is filled with NaN before.
    """
    operands = on_device(subject, problem, dtype, device)
    grad_output = problem.grad_output.to(device, dtype)
    output = unwritten(operands, grad_output)
    subject.computes.forward_on(backend, operands, output)
    grads = wanted_grads(subject, problem, operands)
    subject.computes.backward_on(backend, grad_output, operands, grads)
    named = zip(subject.differentiated, grads, strict=True)
    return {"output": output} | {name: grad for name, grad in named if grad is not None}


def on_device(subject: Subject, problem: Problem, dtype: torch.dtype, device: torch.device) -> Any:
    """Return a problem's operands as kernels for a dtype get them; in fp64 the positions and masks are fp64 too."""
    changed = {}
    for name, value in problem.operands._asdict().items():
        if isinstance(value, Tensor):
            keeps = name not in subject.stored and dtype is not torch.float64
            changed[name] = value.to(device, value.dtype if keeps else dtype)
    return problem.operands._replace(**changed)


def unwritten(operands: Any, grad_output: Tensor) -> Tensor:
    """Return NaN in the form of the output, in the input's memory format."""
    last = operands.input.is_contiguous(memory_format=torch.channels_last) and not operands.input.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    empty = torch.empty_like(grad_output, memory_format=layout)
    return empty.fill_(math.nan)


def wanted_grads(subject: Subject, problem: Problem, operands: Any) -> list[Tensor | None]:
    """Return NaN in the form of the gradients that a problem wants, and None for the others."""
    grads: list[Tensor | None] = []
    for name in subject.differentiated:
        operand = getattr(operands, name)
        is_wanted = operand is not None and (problem.wanted is None or name in problem.wanted)
        grads.append(torch.full_like(operand, math.nan) if is_wanted else None)
    return grads


def definition(subject: Subject, problem: Problem) -> Results:
    """Compute a problem by the definition, in fp64 on the CPU."""
    return results(subject, Backend.REFERENCE, problem, torch.float64, torch.device("cpu"))


def differences(problem: Problem, got: Results, wanted: Results) -> dict[str, str]:
    """Return what is wrong with results, by name and in words; nothing where all are right. Compared where the right ones are."""
    found = {name: _difference(problem, name, got[name].to(value.device), value) for name, value in wanted.items()}
    return {name: words for name, words in found.items() if words}


def _difference(problem: Problem, name: str, got: Tensor, wanted: Tensor) -> str:
    rounded = wanted.to(got.dtype)
    allowed = problem.roundings * _ROUNDING * problem.bounds.get(name, 0.0)
    same = (got == rounded) | (got.isnan() & rounded.isnan())
    if allowed:
        # Half precision rounds once more what may be off already.
        spacing = torch.finfo(got.dtype).eps * rounded.double().abs() if got.dtype.itemsize == 2 else 0
        same |= (got.double() - wanted).abs() <= allowed + spacing
    if bool(same.all()):
        return ""
    wrong = ~same
    first = tuple(int(index) for index in wrong.nonzero()[0])
    return (
        f"{int(wrong.sum())} of {wrong.numel()} wrong; at {list(first)} {got[first].item():.9g} "
        f"instead of {rounded[first].item():.9g}"
    )
