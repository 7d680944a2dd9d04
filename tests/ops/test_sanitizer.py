"""The sanitized kernels stop what they are there to stop: a check that lets everything pass is none."""

import subprocess
import sys
from pathlib import Path

import pytest

SANITIZED = Path(__file__).parents[2] / ".ci" / "sanitized"
# Operands that the checks would have refused, given to the kernel itself.
CALL = """
import torch
from dcnrun.ops.deform_conv2d import cpu
from dcnrun.ops.deform_conv2d.arguments import Operands
input, offset, weight = torch.zeros(1, 4, 6, 6), torch.zeros(1, 18, 6, 6), torch.zeros(4, 4, 3, 3)
output, stride = torch.zeros(1, 4, 6, 6), (1, 1)
{change}
cpu.forward(Operands(input, offset, weight, None, stride, (1, 1), (1, 1), None), output)
print("computed")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "report"),
    [
        ("", None),
        ("output = torch.zeros(1, 3, 6, 6)", "AddressSanitizer: heap-buffer-overflow"),
        ("stride = (2**62, 1)", "runtime error: signed integer overflow"),
    ],
)
def test_errors_are_caught(change, report):
    command = [SANITIZED, sys.executable, "-c", CALL.format(change=change)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    if done.returncode == 77:
        pytest.skip(done.stderr)
    if report is None:
        assert done.returncode == 0, done.stderr
        assert done.stdout == "computed\n"
    else:
        assert done.returncode != 0
        assert report in done.stderr
        assert "deform_conv2d.cpp" in done.stderr
