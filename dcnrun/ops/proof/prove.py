"""The proof itself: every problem by our kernels, by torchvision's operator and by the definition, and who is the faster.

It takes what computes from the operator's `dispatch` module, for whatever device that has kernels for, and seconds from a clock.
So tests run it on a CPU, with kernels that are emulated, right or wrong.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dcnrun.ops.common.dispatch import Backend
from dcnrun.ops.jit.build_spec import dtype_name
from dcnrun.ops.jit.errors import KernelUnavailable
from dcnrun.ops.proof.problem import (
    Problem,
    Results,
    Subject,
    definition,
    differences,
    on_device,
    results,
    unwritten,
    wanted_grads,
)
from dcnrun.ops.proof.verdict import EVERY_WORK, PASSES, Report, Work

# Returns the seconds that some calls of a work took, on the device.
Clock = Callable[[Callable[[], object]], float]
Row = dict[str, Any]

_ROUNDS = 3
_SECONDS_FOR_A_CLASS = 0.05  # after which no further round is begun


def prove(subject: Subject, device: torch.device, clock: Clock | None, seed: int = 0) -> Report:
    """Compute all problems of an operator in every dtype that its kernels store, and time them where there is a clock.

    Args:
        subject: the operator.
        device: where kernels and torchvision compute.
        clock: measures seconds on the device; None leaves the times out.
        seed: of the problems' numbers.

    Returns:
        The part of a report that says what was found: for each dtype whether it is right, why not, what every problem gave that
        was not right, and times.
    """
    started, kernels = time.perf_counter(), subject.computes.KERNELS[device.type]
    problems = [(problem, definition(subject, problem)) for problem in subject.problems(seed)]
    make = None if clock is None else subject.timed
    large = {work: make(work) for work in EVERY_WORK if not work.backward} if make else {}
    prepared = time.perf_counter()
    dtypes, compiling = {}, 0.0
    for dtype in kernels.DTYPES:
        begun = time.perf_counter()
        try:
            kernels.load(dtype, device)
        except KernelUnavailable as problem:
            dtypes[dtype_name(dtype)] = _found([], [], str(problem))
            continue
        finally:
            compiling += time.perf_counter() - begun
        dtypes[dtype_name(dtype)] = _prove_dtype(subject, problems, large, dtype, device, clock)
    seconds = {
        "definition": round(prepared - started, 3),
        "compiling": round(compiling, 3),
        "all": round(time.perf_counter() - started, 3),
    }
    return {"problems": len(problems), "dtypes": dtypes, "seconds": seconds}


def _prove_dtype(
    subject: Subject,
    problems: list[tuple[Problem, Results]],
    large: dict[Work, Problem],
    dtype: torch.dtype,
    device: torch.device,
    clock: Clock | None,
) -> Row:
    """Return what is found of one dtype; what raises an error is wrong."""
    wrong: list[Row] = []
    for problem, wanted in problems:
        for deterministic in (False, True):
            found = _check(subject, Backend.KERNEL, problem, wanted, dtype, device, deterministic)
            if found:
                how = f"{problem.name}, deterministic" if deterministic else problem.name
                wrong.append({"problem": how, "by": "ours"} | found)
    if any(row["by"] == "ours" for row in wrong):
        return _found(wrong, [], f"{wrong[0]['problem']}: {_words(wrong[0])}")
    for problem, wanted in problems if subject.timed else ():
        if problem.peer and (found := _check(subject, Backend.TORCHVISION, problem, wanted, dtype, device, False)):
            wrong.append({"problem": problem.name, "by": "torchvision"} | found)
    # A torchvision that is wrong is no measure of ours.
    if wrong or clock is None:
        return _found(wrong, [])
    times = []
    for work, problem in large.items():
        rows, disagree = _time(subject, work, problem, dtype, device, clock)
        times += rows
        if disagree:
            wrong.append({"problem": work.size, "by": "both", "differs": disagree})
    # Of problems so large nobody knows the answer, so where the two disagree ours is not trusted.
    return _found(wrong, times, f"{wrong[0]['problem']}: {_words(wrong[0])}" if wrong else "")


def _found(wrong: list[Row], times: list[Row], why_not: str = "") -> Row:
    return {"right": not why_not, "why_not": why_not, "wrong": wrong, "times": times}


def _words(row: Row) -> str:
    return row.get("error") or ", ".join(f"{name} {words}" for name, words in row["differs"].items())


def _check(
    subject: Subject,
    backend: Backend,
    problem: Problem,
    wanted: Results,
    dtype: torch.dtype,
    device: torch.device,
    deterministic: bool,
) -> Row:
    """Return what is wrong with a problem's results, or the error that it ended in; nothing where all is right."""
    kept = {name: wanted[name] for name in wanted if problem.wanted is None or name in ("output", *problem.wanted)}
    spoiling: Any = _Spoiling
    try:
        with exact(deterministic), spoiling():
            got = results(subject, backend, problem, dtype, device)
        differs = differences(problem, got, kept)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever it is: kernels that raise one give no right answer
        return {"error": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}
    return {"differs": differs} if differs else {}


def _time(
    subject: Subject,
    work: Work,
    problem: Problem,
    dtype: torch.dtype,
    device: torch.device,
    clock: Clock,
) -> tuple[list[Row], dict[str, str]]:
    """Time the passes of ours and of torchvision's in turn; return rows, and where the results of the two differ."""
    backends = {"ours": Backend.KERNEL, "torchvision": Backend.TORCHVISION}
    seconds: dict[str, dict[str, float]] = {}
    try:
        with exact(False):
            ours, theirs = (results(subject, backend, problem, dtype, device) for backend in backends.values())
            disagree = differences(problem, ours, theirs)
            del ours, theirs
            works = {name: _passes(subject, backend, problem, dtype, device) for name, backend in backends.items()}
            for pass_ in PASSES:
                seconds[pass_] = _fastest({name: works[name][pass_] for name in backends}, clock)
    except torch.OutOfMemoryError:  # where others have nearly all of the GPU's memory, nothing is known of the times
        return [], {}
    except RuntimeError as error:
        return [], {"error": str(error).partition("\n")[0]}
    rows = [
        {"pass": pass_, "channels": work.channels, "pixels": work.pixels} | found for pass_, found in seconds.items()
    ]
    return rows, disagree


def _fastest(works: dict[str, Callable[[], object]], clock: Clock) -> dict[str, float]:
    """Return the shortest time of each: what else the GPU does meanwhile only ever adds to it."""
    for work in works.values():
        work()
    found: dict[str, float] = {}
    began = time.perf_counter()
    for _ in range(_ROUNDS):
        for name, work in works.items():
            found[name] = min(clock(work), found.get(name, math.inf))
        if time.perf_counter() - began > _SECONDS_FOR_A_CLASS:
            break
    return found


def _passes(
    subject: Subject, backend: Backend, problem: Problem, dtype: torch.dtype, device: torch.device
) -> dict[str, Callable[[], object]]:
    operands = on_device(subject, problem, dtype, device)
    grad_output = problem.grad_output.to(device, dtype)
    output, grads = unwritten(operands, grad_output), wanted_grads(subject, problem, operands)
    return {
        PASSES[0]: lambda: subject.computes.forward_on(backend, operands, output),
        PASSES[1]: lambda: subject.computes.backward_on(backend, grad_output, operands, grads),
    }


@contextmanager
def exact(deterministic: bool) -> Iterator[None]:
    """Have matrix products computed as precisely as they can be: what rounds them is the user's choice, and not what is proved."""
    matmul = torch.backends.cuda.matmul
    names = ("allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction")
    before = {name: getattr(matmul, name) for name in names}
    precision = matmul.fp32_precision
    # Not torch.use_deterministic_algorithms, which imports all of PyTorch's compiler.
    was_deterministic = torch.get_deterministic_debug_mode()
    try:
        for name in names:
            setattr(matmul, name, False)
        matmul.fp32_precision = "ieee"  # without TF32
        torch.set_deterministic_debug_mode("error" if deterministic else "default")
        yield
    finally:
        torch.set_deterministic_debug_mode(was_deterministic)
        matmul.fp32_precision = precision
        for name, value in before.items():
            setattr(matmul, name, value)


class _Spoiling(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Fills what is allocated with NaN, or with numbers that are no index: what is not written shows."""

    ALLOCATE: Collection[str] = ("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided")

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **kwargs or {})
        if function.__name__.split(".")[0] in self.ALLOCATE and isinstance(made, Tensor):
            made.fill_(math.nan if made.is_floating_point() else 2**30)
        return made
