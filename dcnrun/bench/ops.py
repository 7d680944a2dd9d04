"""`dcnrun bench ops`: deformable convolution, ours against its peers and against the plain convolution."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from rich.table import Table

from dcnrun.bench.devices import COLUMNS, Cpu, Device, Pairs, the_gpu
from dcnrun.bench.machine import describe, describe_kernel
from dcnrun.bench.operators import CONV2D, FORWARD, OURS, TINY, Case, one_line, unavailable
from dcnrun.bench.timing import Clock, Work, geometric_mean, interleaved, quartiles_ms, quartiles_us
from dcnrun.console import console
from dcnrun.errors import DcnrunError, UsageError
from dcnrun.ops.deform_conv2d.dispatch import backend_for
from dcnrun.ops.jit.build_spec import dtype_name

DEVICES: Mapping[str, Callable[[], Device]] = {"cpu": Cpu, "cuda": the_gpu}
# More load than this at the start comes from something else.
_BUSY = 0.5

Row = dict[str, Any]


def bench_ops(
    device: str = "cpu", dtypes: Sequence[str] = (), threads: int = 0, rounds: int = 9, shapes: str | None = None
) -> dict[str, Any]:
    """Time and measure the operators on a device, print tables, return all numbers with the machine described.

    `dtypes` are the device's own if none is given; for several, there is a result under the name of each. `threads` of 0
    is PyTorch's own choice; `shapes` are parts of the shapes' names, separated by commas.
    """
    if rounds < 1 or threads < 0:
        raise UsageError(f"--rounds {rounds} --threads {threads}: at least one round, and 0 threads or more")
    on = DEVICES[device]()
    cases = _choose(on.cases, shapes)
    chosen = [getattr(torch, name) for name in dtypes] or on.dtypes
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads or threads_before)
    try:
        with on.prepared():
            results = {dtype_name(dtype): _bench(on, cases, dtype, rounds) for dtype in chosen}
    finally:
        torch.set_num_threads(threads_before)
    return results if len(results) > 1 else next(iter(results.values()))


def ratios(rows: Sequence[Row], device: Device) -> dict[str, Any]:
    """Return how each quantity compares: geometric mean, smallest and largest ratio over the reference cases among the rows."""
    reference = [row for row in rows if row["reference"]]
    compared: dict[str, Any] = {"shapes": len(reference)}
    for pass_ in device.passes:
        times = [{name: time["median"] for name, time in row["milliseconds"][pass_].items()} for row in reference]
        memory = [{**row["extra_bytes"][pass_], COLUMNS: row["columns_bytes"]} for row in reference]
        compared[pass_] = {"time": _divided(times, device.time), "memory": _divided(memory, device.memory)}
    return compared


def _divided(quantities: list[dict[str, float]], pairs: Pairs) -> dict[str, dict[str, float]]:
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


def _bench(device: Device, cases: Sequence[Case], dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    machine = describe() | device.describe()
    machine |= {"backend": backend_for(device.device, dtype), "kernel": describe_kernel(dtype, device.device)}
    _show_machine(machine)
    console.print(f"dtype: {dtype_name(dtype)}")
    missing = unavailable(device.peers, dtype, device.device)
    for peer, reason in missing.items():
        console.print(f"Without {peer}: {reason}", markup=False, soft_wrap=True)
    candidates = [candidate for candidate in device.candidates if candidate not in missing]
    rows = []
    for case in cases:
        with console.status(case.name):
            rows.append(_measure(device, case, dtype, candidates, rounds))
        _show_row(rows[-1])
    compared = ratios(rows, device)
    _show(device, rows, compared, candidates)
    result: dict[str, Any] = {
        "machine": machine,
        "dtype": dtype_name(dtype),
        "rounds": rounds,
        "unavailable": missing,
        "results": rows,
        "ratios": compared,
    }
    if device.launch_clock is not None:
        result["launch_microseconds"] = _launches(device, device.launch_clock, dtype, candidates, rounds)
        _show_launches(result["launch_microseconds"])
    return result


def _measure(device: Device, case: Case, dtype: torch.dtype, names: Sequence[str], rounds: int) -> Row:
    works: dict[tuple[str, str], Work] = {}
    failed = {}
    for name in names:
        try:
            works |= {(pass_, name): work for pass_, work in device.works(name, case, dtype).items()}
        except Exception as error:  # each fails in its own ways; the others are measured without it
            failed[name] = one_line(error)
    seconds = interleaved(works, rounds, device.clock)
    row: Row = {
        "shape": case.name,
        **asdict(case),
        "milliseconds": {pass_: {} for pass_ in device.passes},
        "extra_bytes": {pass_: {} for pass_ in device.passes},
        "columns_bytes": case.columns_bytes(dtype),
    }
    for pass_, name in works:
        row["milliseconds"][pass_][name] = quartiles_ms(seconds[pass_, name])
        try:
            row["extra_bytes"][pass_][name] = device.extra_bytes(name, case, dtype, pass_)
        except (DcnrunError, torch.OutOfMemoryError) as error:
            row["memory_unknown"] = str(error)
    return row | {"failed": failed} if failed else row


def _launches(
    device: Device, clock: Clock, dtype: torch.dtype, candidates: Sequence[str], rounds: int
) -> dict[str, dict[str, float]]:
    """What a forward pass of ours and of the plain convolution costs the host."""
    names = [name for name in (OURS, CONV2D) if name in candidates]
    works = {name: device.candidate(name, TINY, dtype)[FORWARD] for name in names}
    return {name: quartiles_us(seconds) for name, seconds in interleaved(works, rounds, clock).items()}


def _show_row(row: Row) -> None:
    """The medians of one shape, at once: the tables are shown when all is measured."""
    for pass_, times in row["milliseconds"].items():
        medians = ", ".join(f"{name} {time['median']}" for name, time in times.items())
        console.print(f"{row['shape']}, {pass_}, milliseconds: {medians}", markup=False, soft_wrap=True)
    for name, problem in row.get("failed", {}).items():
        console.print(f"{row['shape']}, without {name}: {problem}", markup=False, soft_wrap=True)


def _show_machine(machine: dict[str, Any]) -> None:
    for key, value in machine.items():
        console.print(f"{key}: {value}", markup=False, soft_wrap=True)
    if machine["load_average"] > _BUSY:
        console.print(f"Warning: the machine was busy (load {machine['load_average']}): times will be off.")
    if machine["backend"] != "kernel":
        console.print(f"Warning: `ours` is computed by {machine['backend']}: these are not the kernel's times.")


def _show(device: Device, rows: Sequence[Row], compared: dict[str, Any], candidates: Sequence[str]) -> None:
    for pass_ in device.passes:
        table = Table("shape", *candidates, title=f"{pass_}: median milliseconds (quartiles)")
        for row in rows:
            times = row["milliseconds"][pass_]
            table.add_row(row["shape"], *(_time(times[name]) if name in times else "" for name in candidates))
        console.print(table)
    for pass_ in device.passes:
        title = f"{pass_}: peak memory beyond operands and results, MiB"
        table = Table("shape", *candidates, COLUMNS, title=title)
        for row in rows:
            extra = row["extra_bytes"][pass_] | {COLUMNS: row["columns_bytes"]}
            table.add_row(row["shape"], *(_mib(extra.get(name)) for name in (*candidates, COLUMNS)))
        console.print(table)
    reference = [row["shape"] for row in rows if row["reference"]]
    if not reference:
        return
    title = f"geometric mean (smallest, largest) over {', '.join(reference)}"
    table = Table("ratio", *device.passes, title=title)
    for quantity, pairs in (("time", device.time), ("memory", device.memory)):
        for above, below in pairs:
            name = f"{above} / {below}"
            cells = (_ratio(compared[pass_][quantity].get(name)) for pass_ in device.passes)
            table.add_row(f"{quantity}: {name}", *cells)
    console.print(table)


def _show_launches(launches: dict[str, dict[str, float]]) -> None:
    table = Table("", *launches, title=f"forward on {TINY.name}: the host's median microseconds (quartiles)")
    table.add_row("launch", *map(_time, launches.values()))
    console.print(table)


def _time(time: dict[str, float]) -> str:
    digits = 2 if time["median"] >= 1 else 4
    return f"{time['median']:.{digits}f} ({time['q1']:.{digits}f}-{time['q3']:.{digits}f})"


def _mib(size: int | None) -> str:
    return "" if size is None else f"{size / 2**20:.1f}"


def _ratio(ratio: dict[str, float] | None) -> str:
    return "" if ratio is None else f"{ratio['geometric_mean']:.2f} ({ratio['smallest']:.2f}, {ratio['largest']:.2f})"
