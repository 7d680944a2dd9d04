import sys
from types import SimpleNamespace

import pytest
import torch

from dcnrun.bench.machine import describe, describe_gpu, describe_kernel
from dcnrun.ops.jit.compiler import find_compiler
from dcnrun.ops.jit.errors import KernelUnavailable


def test_the_machine():
    machine = describe()
    assert machine["torch"] == torch.__version__
    assert machine["threads"] == torch.get_num_threads()
    assert machine["python"] == sys.version.partition(" ")[0]
    assert machine["cores"] >= 1
    assert machine["cpu"]
    assert machine["vector_instructions"]
    assert machine["load_average"] >= 0
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
    assert "-O3" in kernel["flags"]
    assert kernel["compiler"] == compiler.partition("\n")[0]


def test_a_kernel_that_does_not_exist():
    assert "no CPU kernels for torch.int32" in describe_kernel(torch.int32)["unavailable"]


SMI = """#!/bin/sh
[ "$1" = --id=GPU-12ab ] || exit 6
echo "$2" | grep -q '^--query-gpu=driver_version,clocks.sm,' || exit 2
echo '570.10, 1980 MHz, 2000 MHz, 2619 MHz, 700.00 W'
"""


@pytest.mark.parametrize("uuid", ["12ab", "another", None])
def test_the_gpu_is_described(monkeypatch, tmp_path, uuid):
    """What nvidia-smi tells of it, where there is one and it knows the GPU."""
    properties = SimpleNamespace(
        name="H200", major=9, minor=0, multi_processor_count=132, L2_cache_size=1, total_memory=2, uuid=uuid
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    if uuid is not None:
        (tmp_path / "nvidia-smi").write_text(SMI)
        (tmp_path / "nvidia-smi").chmod(0o755)
    described = describe_gpu(torch.device("cuda"))
    assert (described["gpu"], described["architecture"]) == ("H200", "sm_90")
    assert described["cuda"] == torch.version.cuda
    known = {"driver_version": "570.10", "clocks.sm": "1980 MHz", "clocks.max.sm": "2000 MHz"}
    known |= {"clocks.mem": "2619 MHz", "power.limit": "700.00 W"}
    assert described["nvidia_smi"] == (known if uuid == "12ab" else {})


def test_the_kernel_of_a_gpu_that_is_not_there():
    assert "GPU" in describe_kernel(torch.float32, torch.device("cuda", 99))["unavailable"]
