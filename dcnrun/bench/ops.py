"""`dcnrun bench ops`: deformable convolution, ours against its peers and against the plain convolution."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from rich.table import Table

from dcnrun.bench.machine import describe, describe_kernel
from dcnrun.bench.memory import in_fresh_process
from dcnrun.bench.operators import (
    CASES,
    CONV2D,
    ONNXRUNTIME,
    OURS,
    OURS_NCHW,
    PASSES,
    TORCHVISION,
    Case,
    extra_memory,
    make_candidate,
    unavailable,
)
from dcnrun.bench.timing import geometric_mean, interleaved, quartiles_ms
from dcnrun.console import console
from dcnrun.errors import DcnrunError, UsageError
from dcnrun.ops.backends import backend_for

CANDIDATES = (OURS, OURS_NCHW, TORCHVISION, ONNXRUNTIME, CONV2D)
COLUMNS = "torchvision's columns"
# What is divided by what, in time and in memory.
SPEED = ((OURS, CONV2D), (OURS_NCHW, CONV2D), (TORCHVISION, OURS), (ONNXRUNTIME, OURS))
MEMORY = ((OURS, COLUMNS), (OURS, TORCHVISION))
# More load than this at the start comes from something else.
_BUSY = 0.5

Row = dict[str, Any]


def bench_ops(
    dtype: str = "float32", threads: int = 0, rounds: int = 9, shapes: str | None = None, cases: Sequence[Case] = CASES
) -> dict[str, Any]:
    """Time and measure the operators on every case, print tables, return all numbers with the machine described.

    `threads` of 0 is PyTorch's own choice; `shapes` are parts of the cases' names, separated by commas.
    """
    if rounds < 1 or threads < 0:
        raise UsageError(f"--rounds {rounds} --threads {threads}: at least one round, and 0 threads or more")
    chosen, number = _choose(cases, shapes), getattr(torch, dtype)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads or threads_before)
    try:
        return _bench(chosen, number, rounds)
    finally:
        torch.set_num_threads(threads_before)


def ratios(rows: Sequence[Row]) -> dict[str, Any]:
    """How each quantity compares: geometric mean, smallest and largest ratio over the reference cases among the rows."""
    reference = [row for row in rows if row["reference"]]
    compared: dict[str, Any] = {"shapes": len(reference)}
    for pass_ in PASSES:
        times = [{name: time["median"] for name, time in row["milliseconds"][pass_].items()} for row in reference]
        memory = [{**row["extra_bytes"][pass_], COLUMNS: row["columns_bytes"]} for row in reference]
        compared[pass_] = {"time": _divided(times, SPEED), "memory": _divided(memory, MEMORY)}
    return compared


def _divided(quantities: list[dict[str, float]], pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, float]]:
    result = {}
    for above, below in pairs:
        each = [row[above] / row[below] for row in quantities if row.keys() >= {above, below}]
        if each:
            mean = geometric_mean(each)
            result[f"{above} / {below}"] = {"geometric_mean": mean, "smallest": min(each), "largest": max(each)}
    return result


def _choose(cases: Sequence[Case], shapes: str | None) -> list[Case]:
    if shapes is None:
        return list(cases)
    parts = [part.strip().lower() for part in shapes.split(",")]
    chosen = [case for case in cases if any(part in case.name.lower() for part in parts)]
    if not chosen:
        names = ", ".join(case.name for case in cases)
        raise UsageError(f"--shapes {shapes}: no shape has this in its name. There are: {names}")
    return chosen


def _bench(cases: Sequence[Case], dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    machine = describe() | {"backend": backend_for("cpu", dtype), "kernel": describe_kernel(dtype)}
    _show_machine(machine)
    missing = unavailable(dtype)
    for name, reason in missing.items():
        console.print(f"Without {name}: {reason}", markup=False, soft_wrap=True)
    candidates = [name for name in CANDIDATES if name not in missing]
    rows = []
    for case in cases:
        with console.status(case.name):
            rows.append(_measure(case, dtype, candidates, rounds))
    compared = ratios(rows)
    _show(rows, compared, candidates)
    return {
        "machine": machine,
        "dtype": str(dtype).removeprefix("torch."),
        "rounds": rounds,
        "unavailable": missing,
        "results": rows,
        "ratios": compared,
    }


def _measure(case: Case, dtype: torch.dtype, names: Sequence[str], rounds: int) -> Row:
    works = {(pass_, name): work for name in names for pass_, work in make_candidate(name, case, dtype).passes.items()}
    seconds = interleaved(works, rounds)
    row: Row = {
        "shape": case.name,
        **asdict(case),
        "milliseconds": {pass_: {} for pass_ in PASSES},
        "extra_bytes": {pass_: {} for pass_ in PASSES},
        "columns_bytes": case.columns_bytes(dtype),
    }
    threads = torch.get_num_threads()
    for pass_, name in works:
        row["milliseconds"][pass_][name] = quartiles_ms(seconds[pass_, name])
        try:
            row["extra_bytes"][pass_][name] = in_fresh_process(extra_memory, name, case, dtype, pass_, threads)
        except DcnrunError as error:
            row["memory_unknown"] = str(error)
    return row


def _show_machine(machine: dict[str, Any]) -> None:
    for key, value in machine.items():
        console.print(f"{key}: {value}", markup=False, soft_wrap=True)
    if machine["load_average"] > _BUSY:
        console.print(f"Warning: the machine was busy (load {machine['load_average']}): times will be off.")
    if machine["backend"] != "kernel":
        console.print(f"Warning: `ours` is computed by {machine['backend']}: these are not the kernel's times.")


def _show(rows: Sequence[Row], compared: dict[str, Any], candidates: Sequence[str]) -> None:
    for pass_ in PASSES:
        table = Table("shape", *candidates, title=f"{pass_}: median milliseconds (quartiles)")
        for row in rows:
            times = row["milliseconds"][pass_]
            table.add_row(row["shape"], *(_time(times[name]) if name in times else "" for name in candidates))
        console.print(table)
    for pass_ in PASSES:
        title = f"{pass_}: peak memory beyond operands and results, MiB"
        table = Table("shape", *candidates, COLUMNS, title=title)
        for row in rows:
            extra = row["extra_bytes"][pass_] | {COLUMNS: row["columns_bytes"]}
            table.add_row(row["shape"], *(_mib(extra.get(name)) for name in (*candidates, COLUMNS)))
        console.print(table)
    if not compared["shapes"]:
        return
    title = f"geometric mean over {compared['shapes']} reference shapes (smallest, largest)"
    table = Table("ratio", *PASSES, title=title)
    for quantity, pairs in (("time", SPEED), ("memory", MEMORY)):
        for above, below in pairs:
            name = f"{above} / {below}"
            cells = (_ratio(compared[pass_][quantity].get(name)) for pass_ in PASSES)
            table.add_row(f"{quantity}: {name}", *cells)
    console.print(table)


def _time(time: dict[str, float]) -> str:
    return f"{time['median']:.2f} ({time['q1']:.2f}-{time['q3']:.2f})"


def _mib(size: int | None) -> str:
    return "" if size is None else f"{size / 2**20:.1f}"


def _ratio(ratio: dict[str, float] | None) -> str:
    return "" if ratio is None else f"{ratio['geometric_mean']:.2f} ({ratio['smallest']:.2f}, {ratio['largest']:.2f})"
