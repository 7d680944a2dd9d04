"""Whether our CUDA kernels compute on this GPU what the definition does in fp64, for each operator's `PARITY`: that of the
convolution in dcnrun/ops/backends.py, that of RoI pooling in dcnrun/ops/roi/backends.py.

    python -m benchmarks.cuda_parity [benchmarks/results/cuda_parity_sm_90.json]

Every case has fresh random operands, and all memory that is allocated is filled with NaN first. Where the path says so
it is run a second time, and must give the same bits. Exits with 1 where a case failed.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dcnrun.bench.machine import describe, describe_gpu
from dcnrun.ops import backends
from dcnrun.ops.roi import backends as roi_backends
from dcnrun.ops.roi import cuda_kernel as roi_kernel
from tests.ops import parity
from tests.ops.parity import TF32_TOLERANCE, TOLERANCES, watched_kernels
from tests.ops.roi import parity as roi_parity

Row = dict[str, Any]


def measure(name: str, errors: Callable[..., dict[str, float]], tolerance: float) -> Row:
    """What a case computes from a fresh seed."""
    seed = int.from_bytes(os.urandom(4))
    found = errors(seed=seed, device="cuda")
    row = {
        "case": name,
        "seed": seed,
        "tolerance": tolerance,
        "errors": {name: value if math.isfinite(value) else None for name, value in found.items()},
        "passed": max(found.values()) <= tolerance,
    }
    print("passed" if row["passed"] else "FAILED", name, row["errors"], flush=True)
    return row


def convolutions() -> Iterator[Row]:
    for case in parity.cases(parity.SHAPES | parity.LARGE_SHAPES):
        for tf32 in (False, True) if case.dtype == torch.float32 else (False,):
            torch.backends.cuda.matmul.allow_tf32 = tf32
            name, tolerance = (f"{case}, TF32", TF32_TOLERANCE) if tf32 else (str(case), TOLERANCES[case.dtype])
            yield measure(name, partial(parity.errors, case), tolerance)


def roi_poolings() -> Iterator[Row]:
    for case in roi_parity.cases(roi_parity.SHAPES | roi_parity.LARGE_SHAPES):
        yield measure(str(case), partial(roi_parity.errors, case), TOLERANCES[case.dtype])


def main(file: Path) -> int:
    os.environ["DCNRUN_BACKEND"] = "cuda"
    # What cuBLAS asks of those who want deterministic products.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    backends.KERNELS["cuda"] = watched_kernels()
    roi_backends.KERNELS["cuda"] = watched_kernels(roi_kernel)
    cases = {"deform_conv2d": list(convolutions()), "deform_roi_pool": list(roi_poolings())}
    passed = {operator: sum(row["passed"] for row in rows) for operator, rows in cases.items()}
    result = {"machine": describe() | describe_gpu(torch.device("cuda", torch.cuda.current_device()))}
    for operator, rows in cases.items():
        result[operator] = {"passed": passed[operator] == len(rows), "cases": rows}
    written = file.with_suffix(".part")
    written.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    written.replace(file)
    for operator, rows in cases.items():
        print(f"{operator}: {passed[operator]} of {len(rows)} cases passed: {file}")
    return 0 if all(result[operator]["passed"] for operator in cases) else 1


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no NVIDIA GPU here.")
    default = "benchmarks/results/cuda_parity_sm_{}{}.json".format(*torch.cuda.get_device_capability())
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else default)))
