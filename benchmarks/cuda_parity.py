"""Whether our CUDA kernels compute on this GPU what the definition does in fp64, for `PARITY` in dcnrun/ops/backends.py.

    python -m benchmarks.cuda_parity [benchmarks/results/cuda_parity_sm_90.json]

Every case has fresh random operands, and all memory that is allocated is filled with NaN first. Where the path says so
it is run a second time, and must give the same bits. Exits with 1 where a case failed.
"""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import torch

from dcnrun.bench.machine import describe, describe_gpu
from dcnrun.ops import backends
from tests.ops.parity import LARGE_SHAPES, SHAPES, TF32_TOLERANCE, TOLERANCES, Case, cases, errors, watched_kernels


def measure(case: Case, tf32: bool) -> dict[str, Any]:
    torch.backends.cuda.matmul.allow_tf32 = tf32
    seed = int.from_bytes(os.urandom(4))
    tolerance = TF32_TOLERANCE if tf32 else TOLERANCES[case.dtype]
    found = errors(case, seed, "cuda")
    return {
        "case": f"{case}, TF32" if tf32 else str(case),
        "seed": seed,
        "tolerance": tolerance,
        "errors": {name: value if math.isfinite(value) else None for name, value in found.items()},
        "passed": max(found.values()) <= tolerance,
    }


def main(file: Path) -> int:
    os.environ["DCNRUN_BACKEND"] = "cuda"
    # What cuBLAS asks of those who want deterministic products.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    backends.KERNELS["cuda"] = watched_kernels()
    rows = []
    for case in cases(SHAPES | LARGE_SHAPES):
        for tf32 in (False, True) if case.dtype == torch.float32 else (False,):
            rows.append(measure(case, tf32))
            print("passed" if rows[-1]["passed"] else "FAILED", rows[-1]["case"], rows[-1]["errors"], flush=True)
    result = {
        "machine": describe() | describe_gpu(torch.device("cuda", torch.cuda.current_device())),
        "passed": all(row["passed"] for row in rows),
        "cases": rows,
    }
    written = file.with_suffix(".part")
    written.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    written.replace(file)
    print(f"{sum(row['passed'] for row in rows)} of {len(rows)} cases passed: {file}")
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no NVIDIA GPU here.")
    default = "benchmarks/results/cuda_parity_sm_{}{}.json".format(*torch.cuda.get_device_capability())
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else default)))
