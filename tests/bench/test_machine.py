import sys

import pytest
import torch

from dcnrun.bench.machine import describe, describe_kernel
from dcnrun.ops.jit.compiler import find_compiler
from dcnrun.ops.jit.errors import KernelUnavailable


def test_the_machine():
    machine = describe()
    assert machine["torch"] == torch.__version__
    assert machine["threads"] == torch.get_num_threads()
    assert machine["python"] == sys.version.partition(" ")[0]
    assert all(isinstance(value, str | int | float | None) for value in machine.values())


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["/usr/bin/dcnrun", "bench", "ops"], "dcnrun bench ops"),
        (["/somewhere/dcnrun/__main__.py", "bench"], "dcnrun bench"),
        (["benchmarks/roi_pool.py", "--quick"], "python benchmarks/roi_pool.py --quick"),
    ],
)
def test_the_command_as_it_is_typed(argv, wanted, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    assert describe()["command"] == wanted


def test_the_kernel():
    try:
        compiler = find_compiler().version
    except KernelUnavailable as problem:
        pytest.skip(str(problem))
    kernel = describe_kernel(torch.float32)
    assert kernel["file"].startswith("deform_conv2d-float32-")
    assert "-DDCNRUN_FLOAT32" in kernel["flags"]
    assert kernel["compiler"] == compiler.partition("\n")[0]


def test_a_kernel_that_does_not_exist():
    assert "no CPU kernels for torch.int32" in describe_kernel(torch.int32)["unavailable"]
