"""Deformable convolution on the CPU: ours, torchvision's, and conv2d channels-last as the floor.

    python benchmarks/deform_conv2d_cpu.py benchmarks/results/deform_conv2d_cpu.json

All are timed in one process, in turn, so that a drift of the machine's speed meets them all.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision.ops
from machine import describe
from torch import Tensor
from torch.nn import functional as F

from dcnrun.ops.reference import deform_conv2d_reference
from dcnrun.ops.rows import deform_conv2d_rows

# N, C, Co, H = W, offset groups
SHAPES = [(2, 64, 64, 64, 1), (2, 128, 128, 32, 1), (2, 256, 256, 32, 1), (1, 256, 256, 64, 1), (2, 256, 256, 32, 4)]
ROUNDS = 7
ONE, PAD = (1, 1), (1, 1)


def candidates(n: int, c: int, co: int, size: int, offset_groups: int) -> dict[str, Callable[[], Tensor]]:
    x = torch.randn(n, c, size, size).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(co, c, 3, 3, requires_grad=True)
    offset = torch.randn(n, 18 * offset_groups, size, size, requires_grad=True)
    mask = torch.rand(n, 9 * offset_groups, size, size, requires_grad=True)
    last = weight.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    return {
        "rows": lambda: deform_conv2d_rows(x, offset, weight, None, ONE, PAD, ONE, mask),
        "reference": lambda: deform_conv2d_reference(x, offset, weight, None, ONE, PAD, ONE, mask),
        "torchvision": lambda: torchvision.ops.deform_conv2d(x, offset, weight, None, ONE, PAD, ONE, mask),
        "conv2d": lambda: F.conv2d(x, last, padding=1),
    }


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def quartiles(times: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(times, n=4)
    return {"median_ms": round(median * 1e3, 2), "q1_ms": round(low * 1e3, 2), "q3_ms": round(high * 1e3, 2)}


def main() -> None:
    torch.manual_seed(0)
    rows = []
    for shape in SHAPES:
        functions = candidates(*shape)
        forward: dict[str, list[float]] = {name: [] for name in functions}
        both: dict[str, list[float]] = {name: [] for name in functions}
        for round_ in range(ROUNDS + 1):
            for name, function in functions.items():
                with torch.no_grad():
                    alone = seconds(function)
                together = seconds(lambda function=function: function().sum().backward())
                if round_:  # the first is the warm-up
                    forward[name].append(alone)
                    both[name].append(together)
        row = {
            "shape": dict(zip(("n", "c", "co", "size", "offset_groups"), shape, strict=True)),
            "forward": {name: quartiles(times) for name, times in forward.items()},
            "forward_backward": {name: quartiles(times) for name, times in both.items()},
        }
        rows.append(row)
        print(row, flush=True)
    result = {"machine": describe(), "rounds": ROUNDS, "results": rows}
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
