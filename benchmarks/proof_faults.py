"""Whether the proof of the CUDA kernels finds what is wrong, and nothing where all is right: with kernels that are emulated on the CPU.

    python -m benchmarks.proof_faults benchmarks/results/proof_faults.json [RUNS]

First every planted fault, then RUNS (200) proofs of the kernels as they are: operators and dtypes take turns, and each proof has other
numbers and another order of threads and blocks. Exits with 1 where a fault was missed or a right kernel called wrong.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dcnrun.bench.machine import describe
from dcnrun.ops.jit.build_spec import CUDA_DTYPES, dtype_name
from tests.ops.proof.fakes import CONV, FAULTS, ROI, SAMPLE, prove_emulated, wrong_dtypes

Row = dict[str, Any]


def plant() -> list[Row]:
    """Prove every faulty kernel."""
    rows = []
    for fault in FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            found = prove_emulated(fault.operator, fault=fault, folder=Path(folder))
        wrong = found["dtypes"][dtype_name(fault.dtype)]["wrong"]
        rows.append(
            {
                "fault": fault.name,
                "operator": fault.operator,
                "caught": bool(wrong),
                "problems_that_show_it": len({row["problem"] for row in wrong}),
                "first": wrong[0] if wrong else None,
            }
        )
        print(
            "caught" if wrong else "MISSED", fault.operator, fault.name, rows[-1]["problems_that_show_it"], flush=True
        )
    return rows


def repeat(runs: int) -> list[Row]:
    """Prove the kernels as they are, again and again."""
    rows = []
    for run in range(runs):
        operator, dtype = (CONV, SAMPLE, ROI)[run % 3], CUDA_DTYPES[run // 3 % 3]
        started = time.perf_counter()
        found = prove_emulated(operator, dtypes=(dtype,), seed=run, order=run)
        rows.append({"operator": operator, "dtype": dtype_name(dtype), "seed": run, "wrong": wrong_dtypes(found)})
        print(
            run,
            operator,
            "ALARM" if rows[-1]["wrong"] else "right",
            f"{time.perf_counter() - started:.1f} s",
            flush=True,
        )
    return rows


def main() -> int:
    file, runs = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200
    faults, proofs = plant(), repeat(runs)
    alarms = [row for row in proofs if row["wrong"]]
    result = {
        "machine": describe() | {"command": f"python -m benchmarks.proof_faults {' '.join(sys.argv[1:])}"},
        "faults": len(faults),
        "caught": sum(row["caught"] for row in faults),
        "runs": len(proofs),
        "false_alarms": len(alarms),
        "each_fault": faults,
        "alarms": alarms,
    }
    file.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(
        f"{result['caught']} of {len(faults)} faults caught, {len(alarms)} false alarms in {len(proofs)} runs: {file}"
    )
    return 0 if result["caught"] == len(faults) and not alarms else 1


if __name__ == "__main__":
    sys.exit(main())
