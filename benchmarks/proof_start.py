"""What the first use of an operator on a kind of GPU costs before its kernels run there, here and in another checkout; needs no GPU.

    git worktree add /tmp/before COMMIT
    python benchmarks/proof_start.py /tmp/before benchmarks/results/proof_start.json [rounds]

CPU seconds, of which other work on the machine takes few; the least of some rounds. A process imports what that of a proof does, and switches
to deterministic algorithms and back ("start"); computes the right answers of a convolution's problems, and makes the large ones that are timed
("answers"); and compiles its kernels, one for each dtype ("compiling"). At ef52e3d one kernel was compiled before the process was
started, and the others in it, one after another; now all are at once, beside it. Added up accordingly, for a machine with cores enough, that is "until the
GPU": an estimate. What only a GPU tells is left out: its context, the problems on it, and the times.
"""

import json
import os
import resource
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]
ROUNDS = 5
OPERATOR = "deform_conv2d"
BEFORE, NOW = "before", "now"


def measure(checkout: str) -> None:
    """Print the CPU seconds of what a process of a proof does before it needs the GPU, and of compiling."""
    import torch

    child = runpy.run_path(str(Path(checkout, "dcnrun/ops/proof/child.py")), run_name="child")
    if "import_torchvision_operators" in child:
        child["import_torchvision_operators"]()
    from dcnrun.ops.proof.prove import EVERY_WORK, definition, exact

    subject = child["subject_of"](OPERATOR)
    with exact(True):
        pass
    started = _cpu_seconds()
    for problem in subject.problems(0):
        definition(subject, problem)
    for work in EVERY_WORK:
        if not work.backward:
            subject.timed(work)
    answered = _cpu_seconds()
    from dcnrun.ops.jit.build_spec import CUDA_DTYPES
    from dcnrun.ops.jit.cuda import compile_cuda

    compiling = []
    for dtype in CUDA_DTYPES:
        begun = _cpu_seconds()
        compile_cuda(OPERATOR, dtype, "sm_90a")
        compiling.append(_cpu_seconds() - begun)
    found = {"start": started, "answers": answered - started, "compiling": compiling, "torch": torch.__version__}
    print(json.dumps(found))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    from dcnrun.bench.machine import describe

    before, out, *more = sys.argv[1:]
    checkouts = {BEFORE: before, NOW: str(HERE)}
    least: dict[str, dict[str, Any]] = {}
    for _ in range(int(more[0]) if more else ROUNDS):
        for name, checkout in checkouts.items():
            command = [sys.executable, __file__, "--measure", checkout]
            environment = os.environ | {"PYTHONPATH": checkout, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            kept = least.setdefault(name, found)
            kept |= {part: min(kept[part], found[part]) for part in ("start", "answers")}
            kept["compiling"] = list(map(min, kept["compiling"], found["compiling"]))
    for found in least.values():
        del found["torch"]
    least[BEFORE]["until the GPU"] = sum(
        (least[BEFORE]["start"], least[BEFORE]["answers"], *least[BEFORE]["compiling"])
    )
    least[NOW]["until the GPU"] = max(least[NOW]["start"] + least[NOW]["answers"], *least[NOW]["compiling"])
    for name, found in least.items():
        print(
            name, {part: [round(x, 2) for x in s] if isinstance(s, list) else round(s, 2) for part, s in found.items()}
        )
    result = {
        "machine": describe(),
        "commits": {name: _commit(each) for name, each in checkouts.items()},
        "seconds": least,
    }
    Path(out).write_text(json.dumps(result, indent=1) + "\n")


def _commit(checkout: str) -> str:
    git = ["git", "-C", checkout, "describe", "--always", "--dirty"]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        measure(sys.argv[2])
    else:
        main()
