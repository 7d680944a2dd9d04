"""Whether our CUDA kernels compute on this GPU what the definition does in fp64: the long form of `dcnrun kernels prove`, with
random numbers, large shapes and TF32.

    python -m benchmarks.cuda_parity [--only PART] [benchmarks/results/cuda_parity_sm_90.json]

Every case has fresh random operands, and all memory that is allocated is filled with NaN first. Where the path says so
it is run a second time, and must give the same bits. `--only` takes the cases with a part in their names, such as
"RoI pooling": an operator has passed once all of its cases have. What was found so far is in a file that ends with .part.
Exits with 1 where a case failed.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dcnrun.bench.devices import CUBLAS_DETERMINISTIC
from dcnrun.bench.machine import describe, describe_gpu
from dcnrun.bench.operators import one_line
from dcnrun.ops.deform_conv2d import dispatch as conv_dispatch
from dcnrun.ops.deform_roi_pool import cuda as roi_cuda
from dcnrun.ops.deform_roi_pool import dispatch as roi_dispatch
from dcnrun.ops.deform_sample2d import cuda as sample_cuda
from dcnrun.ops.deform_sample2d import dispatch as sample_dispatch
from tests.ops.deform_conv2d import parity
from tests.ops.deform_conv2d.parity import TF32_TOLERANCE, TOLERANCES, watched_kernels
from tests.ops.deform_roi_pool import parity as roi_parity
from tests.ops.deform_sample2d import parity as sample_parity

Row = dict[str, Any]


class Check(NamedTuple):
    """What is computed on a device from a seed, and the largest error that passes."""

    name: str
    errors: Callable[..., dict[str, float]]
    tolerance: float
    tf32: bool = False


def convolutions() -> list[Check]:
    return [
        Check(f"{case}, TF32", partial(parity.errors, case), TF32_TOLERANCE, tf32=True)
        if tf32
        else Check(str(case), partial(parity.errors, case), TOLERANCES[case.dtype])
        for case in parity.cases(parity.SHAPES | parity.LARGE_SHAPES)
        for tf32 in ((False, True) if case.dtype == torch.float32 else (False,))
    ]


def roi_poolings() -> list[Check]:
    return [
        Check(str(case), partial(roi_parity.errors, case), TOLERANCES[case.dtype])
        for case in roi_parity.cases(roi_parity.SHAPES | roi_parity.LARGE_SHAPES)
    ]


def samplings() -> list[Check]:
    return [
        Check(str(case), partial(sample_parity.errors, case), TOLERANCES[case.dtype])
        for case in sample_parity.cases(sample_parity.SHAPES | sample_parity.LARGE_SHAPES)
    ]


def measure(check: Check) -> Row:
    """What a case computes from a fresh seed; one that can't be computed has failed."""
    row: Row = {"case": check.name, "seed": int.from_bytes(os.urandom(4)), "tolerance": check.tolerance}
    torch.backends.cuda.matmul.allow_tf32 = check.tf32
    try:
        found = check.errors(seed=row["seed"], device="cuda")
    except Exception as error:
        row |= {"problem": one_line(error), "passed": False}
    else:
        row["errors"] = {name: value if math.isfinite(value) else None for name, value in found.items()}
        row["passed"] = max(found.values()) <= check.tolerance
    print("passed" if row["passed"] else "FAILED", row["case"], row.get("errors", row.get("problem")), flush=True)
    return row


def run(checks: Mapping[str, Sequence[Check]], machine: Row, file: Path, only: str = "") -> bool:
    """Measure the cases of every operator, and keep the result; whether all that were measured passed."""
    result: Row = {"machine": machine} | {operator: {"passed": False, "cases": []} for operator in checks}
    part = file.with_suffix(".part")
    for operator, every in checks.items():
        rows = result[operator]["cases"]
        for check in every:
            if only in check.name:
                rows.append(measure(check))
                part.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
        passed = sum(row["passed"] for row in rows)
        result[operator]["passed"] = passed == len(every)
        print(f"{operator}: {passed} of {len(rows)} cases passed (there are {len(every)}): {file}")
    part.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    part.replace(file)
    return all(row["passed"] for operator in checks for row in result[operator]["cases"])


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Whether our CUDA kernels compute on this GPU what the definition does."
    )
    parser.add_argument("file", type=Path, nargs="?", help="of the result; benchmarks/results/cuda_parity_*.json")
    parser.add_argument("--only", metavar="PART", default="", help="the cases with this in their names")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no NVIDIA GPU here.")
    if asked.only and not asked.file:
        parser.error("--only measures a part of the cases: name the file of their result")
    default = "benchmarks/results/cuda_parity_sm_{}{}.json".format(*torch.cuda.get_device_capability())
    os.environ["DCNRUN_BACKEND"] = "cuda"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_DETERMINISTIC)
    conv_dispatch.KERNELS["cuda"] = watched_kernels()
    roi_dispatch.KERNELS["cuda"] = watched_kernels(roi_cuda)
    sample_dispatch.KERNELS["cuda"] = watched_kernels(sample_cuda)
    machine = describe() | describe_gpu(torch.device("cuda", torch.cuda.current_device()))
    checks = {"deform_conv2d": convolutions(), "deform_roi_pool": roi_poolings(), "deform_sample2d": samplings()}
    return 0 if run(checks, machine, asked.file or Path(default), asked.only) else 1


if __name__ == "__main__":
    sys.exit(main())
