"""What the CPU's matrix units gain: deformable convolution beside that of an older checkout, and beside the plain convolution.

    git worktree add /tmp/before f8fba66
    python benchmarks/bf16_units.py /tmp/before benchmarks/results/bf16_units.json [rounds]

Both kernels are compiled with the same flags and called in one process in turn, on the five reference shapes of `dcnrun bench ops`, on
two threads; `DCNRUN_CPU_UNITS=avx512_bf16` measures that unit, where the CPU has it. The old checkout's arguments must be those of today.
"""

import ctypes
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dcnrun.bench.devices import Cpu
from dcnrun.bench.machine import describe, describe_kernel
from dcnrun.bench.operators import BOTH, CONV2D, FORWARD, OURS, OURS_NCHW, Case, make_candidate
from dcnrun.bench.timing import Work, geometric_mean, interleaved, quartiles_ms
from dcnrun.ops.deform_conv2d import cpu
from dcnrun.ops.jit.build_spec import DEFINES
from dcnrun.ops.jit.compiler import compile_library, find_compiler, kernel_flags

ROUNDS = 15
THREADS = 2
DTYPE = torch.bfloat16
BEFORE, BEFORE_NCHW = "before", "before, NCHW"
RATIOS = ((BEFORE, OURS), (BEFORE_NCHW, OURS_NCHW), (OURS, CONV2D))


def kernel_of(checkout: Path, folder: Path) -> ctypes.CDLL:
    """The library of another checkout's kernel."""
    source = checkout / "kernels" / "cpu" / "deform_conv2d.cpp"
    library = folder / "before.so"
    compile_library(find_compiler(), kernel_flags(DEFINES[DTYPE]), source, library)
    return ctypes.CDLL(str(library))


def with_kernel(work: Work, library: ctypes.CDLL) -> Work:
    """The work as that library computes it."""

    def computed() -> object:
        ours = cpu.load
        cpu.load = lambda dtype, device=cpu.CPU: library
        try:
            return work()
        finally:
            cpu.load = ours

    return computed


def works_of(case: Case, before: ctypes.CDLL) -> dict[tuple[str, str], Work]:
    works: dict[tuple[str, str], Work] = {}
    for name, old in ((OURS, BEFORE), (OURS_NCHW, BEFORE_NCHW), (CONV2D, None)):
        passes: dict[str, Callable[[], Any]] = dict(make_candidate(name, case, DTYPE))
        for pass_ in (FORWARD, BOTH):
            works[pass_, name] = passes[pass_]
            if old is not None:
                works[pass_, old] = with_kernel(passes[pass_], before)
    return works


def ratios_of(rows: list[dict[str, Any]], pass_: str) -> dict[str, Any]:
    found = {}
    for above, below in RATIOS:
        each = [row[pass_][above]["median"] / row[pass_][below]["median"] for row in rows]
        found[f"{above} / {below}"] = {
            "geometric_mean": geometric_mean(each),
            "smallest": min(each),
            "largest": max(each),
        }
    return found


def main() -> None:
    checkout, out, *more = sys.argv[1:]
    rounds = int(more[0]) if more else ROUNDS
    torch.set_num_threads(THREADS)
    commit = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    machine = describe() | {"kernel": describe_kernel(DTYPE)}
    print(f"unit: {machine['kernel']['unit']}, load: {machine['load_average']}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        before = kernel_of(Path(checkout), Path(folder))
        for case in (case for case in Cpu.cases if case.reference):
            seconds = interleaved(works_of(case, before), rounds)
            row: dict[str, Any] = {"shape": case.name, FORWARD: {}, BOTH: {}}
            for (pass_, name), times in seconds.items():
                row[pass_][name] = quartiles_ms(times)
            rows.append(row)
            for pass_ in (FORWARD, BOTH):
                print(case.name, pass_, {name: time["median"] for name, time in row[pass_].items()}, flush=True)
    ratios = {pass_: ratios_of(rows, pass_) for pass_ in (FORWARD, BOTH)}
    for pass_, found in ratios.items():
        print(pass_, {name: round(ratio["geometric_mean"], 2) for name, ratio in found.items()})
    result = {
        "machine": machine,
        "before": commit.stdout.strip(),
        "dtype": "bfloat16",
        "rounds": rounds,
        "results": rows,
    }
    Path(out).write_text(json.dumps(result | {"ratios": ratios}, indent=1) + "\n")


if __name__ == "__main__":
    main()
