"""The sanitized kernels stop what they are there to stop: a check that lets everything pass is none."""

import subprocess
import sys
from pathlib import Path

import pytest

SANITIZED = Path(__file__).parents[2] / ".ci" / "sanitized"
# Operands that the checks would have refused, given to the kernel itself; each in a process of its own, which starts at once.
CALLS = """
import os, sys, torch
from dcnrun.ops.deform_conv2d import cpu
from dcnrun.ops.deform_conv2d.arguments import Operands
cpu.load(torch.float32)
for change in sys.argv[1:]:
    print("case", file=sys.stderr, flush=True)
    if os.fork() == 0:
        input, offset, weight = torch.zeros(1, 4, 6, 6), torch.zeros(1, 18, 6, 6), torch.zeros(4, 4, 3, 3)
        values = {"torch": torch, "output": torch.zeros(1, 4, 6, 6), "stride": (1, 1)}
        exec(change, values)
        operands = Operands(input, offset, weight, None, values["stride"], (1, 1), (1, 1), None)
        cpu.forward(operands, values["output"])
        print("computed", file=sys.stderr, flush=True)
        os._exit(0)
    os.wait()
"""
REPORTS = {
    "": "computed",
    "output = torch.zeros(1, 3, 6, 6)": "AddressSanitizer: heap-buffer-overflow",
    "stride = (2**62, 1)": "runtime error: signed integer overflow",
}


@pytest.mark.slow
def test_errors_are_caught():
    done = subprocess.run(
        [SANITIZED, sys.executable, "-c", CALLS, *REPORTS], capture_output=True, text=True, timeout=200
    )
    if done.returncode == 77:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    _, *found = done.stderr.split("case\n")
    assert len(found) == len(REPORTS)
    for text, report in zip(found, REPORTS.values(), strict=True):
        assert report in text
        assert (report == "computed") == ("computed" in text) == ("deform_conv2d.cpp" not in text), text
