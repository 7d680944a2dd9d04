import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

import dcnrun
from dcnrun.cli import app
from dcnrun.console import console
from dcnrun.errors import UsageError
from dcnrun.ops.deform_conv2d import dispatch
from dcnrun.ops.jit import KernelUnavailable, cuda
from dcnrun.ops.jit.nvrtc import find_nvrtc
from dcnrun.ops.proof import first_use
from dcnrun.ops.proof.verdict import Verdict, Work
from tests.ops.jit.fakes import NAME, Sandbox, needs_nvrtc

OPERATORS = ["deform_conv2d", "deform_roi_pool", "deform_sample2d"]
DTYPES = ["float32", "float64", "bfloat16", "float16"]


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    monkeypatch.setattr(dispatch, "backend_for", lambda device, dtype: "kernel")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    # What other tests of this process have loaded may bring a second one, as ncnn does.
    monkeypatch.setattr("dcnrun.doctor._OPENMP_RUNTIME", re.compile(r"/\S*/torch/lib/lib(?:gomp|omp|iomp)\S*"))
    made = Sandbox(tmp_path, monkeypatch)
    yield made
    made.forget()


def doctor(exit_code=0):
    """The report, and what people read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "_width", 200)  # COLUMNS counts only when it is imported
        result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == exit_code, result.stderr
    assert "Traceback" not in result.stderr
    return json.loads(result.stdout), result.stderr


def test_a_healthy_machine(sandbox, monkeypatch):
    monkeypatch.setenv("DCNRUN_DEBUG", "[1]")
    report, text = doctor()
    assert report["problems"] == []
    assert text.splitlines()[-1] == "No problems."
    assert report["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert report["versions"]["dcnrun"] == dcnrun.__version__
    assert report["environment"] == {"DCNRUN_CACHE": str(sandbox.cache), "DCNRUN_DEBUG": "[1]"}
    assert "[1]" in text
    assert report["machine"]["torch_threads"] == torch.get_num_threads()
    assert os.access(report["compiler"]["command"].split()[0], os.X_OK)
    assert [(row["dtype"], row["device"], row["runs_on"]) for row in report["kernels"]] == [
        (dtype, "cpu", "one thread" if sys.platform == "darwin" else "OpenMP threads") for dtype in DTYPES
    ]
    assert all(row["state"].startswith("compiled in ") for row in report["kernels"])
    assert report["cache"] == {"folder": str(sandbox.cache / "kernels"), "compiled_kernels": 4, "mib": 0.1}
    assert [(row["unit"], row["used"], row["why"]) for row in report["bf16_units"]] == [
        ("amx", "no", "this CPU has no amx_tile"),
        ("avx512_bf16", "no", "this CPU has no avx512_bf16"),
        ("vectors", "yes", "the first that can be used"),
    ]
    computed = dict.fromkeys(DTYPES, "kernel") | {"why": "our kernel where there is one"}
    assert report["backends"][0] == {"operator": "deform_conv2d", "device": "cpu"} | computed
    assert [row["operator"] for row in report["backends"]] == OPERATORS
    assert all(operator in text for operator in OPERATORS)

    sandbox.forget()
    assert {row["state"] for row in doctor()[0]["kernels"]} == {"from the cache"}


def test_no_variable_is_shown_with_its_secret(sandbox, monkeypatch):
    monkeypatch.setenv("DCNRUN_STORAGE", "postgresql://me:hunter2@db/sweeps?password=hunter2")
    monkeypatch.setenv("DCNRUN_OTHER", "hunter2@db\x1b[31m")
    report, text = doctor()
    assert report["environment"]["DCNRUN_STORAGE"] == "postgresql://***@db/sweeps?***"
    assert "postgresql://***@db/sweeps?***" in text
    assert "\x1b" not in report["environment"]["DCNRUN_OTHER"]
    monkeypatch.setenv("DCNRUN_STORAGE", "hunter2")
    assert doctor()[0]["environment"]["DCNRUN_STORAGE"] == "***"


def no_compiler(sandbox):
    sandbox.leave_no_compiler()


def broken_source(sandbox):
    sandbox.source.write_text("int x = ;\n")


def no_cache(sandbox):
    sandbox.cache.write_text("a file where the folder should be")


def no_openmp(sandbox):
    sandbox.compiler(before='case "$*" in *-fopenmp*) echo "error: no -fopenmp"; exit 1;; esac\n')


@pytest.mark.parametrize(
    ("spoil", "state", "problem", "remedy"),
    [
        (no_compiler, "unavailable", "no C++ compiler was found", "install"),
        (broken_source, "unavailable", "deform_conv2d.cpp:1:", "kernels build"),
        (no_cache, "not kept", "every process compiles", "DCNRUN_CACHE"),
        (no_openmp, "compiled in", "one thread", "libomp-dev"),
    ],
)
def test_what_is_wrong_with_the_kernels(sandbox, spoil, state, problem, remedy):
    spoil(sandbox)
    report, text = doctor()
    assert all(state in row["state"] for row in report["kernels"])
    [found] = report["problems"]
    assert problem in found["problem"]
    assert remedy in found["remedy"]
    assert text.endswith(f"Problem: {found['problem']}\n  Remedy: {found['remedy']}\n")


def test_a_unit_that_does_not_exist(sandbox, monkeypatch):
    monkeypatch.setattr(dispatch, "backend_for", lambda device, dtype: dispatch.cpu.load(dtype) and "kernel")
    monkeypatch.setenv("DCNRUN_CPU_UNITS", "tpu")
    report, _ = doctor()
    [found] = report["problems"]
    assert found["problem"].startswith("DCNRUN_CPU_UNITS is 'tpu': it must be one of auto, amx")
    assert found["remedy"] == "unset DCNRUN_CPU_UNITS"
    assert report["bf16_units"] == []
    assert report["backends"][0]["bfloat16"] == "none"


def test_a_backend_that_does_not_exist(sandbox, monkeypatch):
    def refuse(device, dtype):
        raise UsageError("DCNRUN_BACKEND is 'quick'")

    monkeypatch.setattr(dispatch, "backend_for", refuse)
    report, _ = doctor()
    assert report["backends"][0]["float32"] == "none"
    assert report["problems"] == [{"problem": "DCNRUN_BACKEND is 'quick'", "remedy": "unset DCNRUN_BACKEND"}]


# GPUs.


@pytest.fixture
def gpus(sandbox, monkeypatch):
    """Two GPUs of which torch tells, and which load whatever they are given."""
    gpu = SimpleNamespace(name="GPU [0]", major=9, minor=0, total_memory=140 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(cuda, "CudaModule", lambda image, index: None)
    every = frozenset({"float32", "bfloat16", "float16"})
    verdicts = dict.fromkeys(
        OPERATORS, Verdict(every, {"float32": frozenset({Work(True, 256, 4096)})}, file=Path("/one.json"))
    )
    monkeypatch.setattr(first_use, "verdict_for", lambda operator, device: verdicts[operator])
    return verdicts


def of_gpus(rows):
    return [row for row in rows if row["device"].startswith("cuda")]


@needs_nvrtc
def test_gpus(sandbox, gpus):
    report, text = doctor()
    assert report["cuda_devices"] == [{"name": "GPU [0]", "capability": "9.0", "memory_gib": 140.0}] * 2
    assert report["cuda_compiler"].keys() == {"nvrtc", "headers"}
    assert [(row["device"], row["dtype"], row["runs_on"]) for row in of_gpus(report["kernels"])] == [
        (device, dtype, "sm_90a") for device in ("cuda:0", "cuda:1") for dtype in ("float32", "bfloat16", "float16")
    ]
    assert [row["state"].split()[0] for row in of_gpus(report["kernels"])] == ["compiled"] * 3 + ["from"] * 3
    assert report["cache"]["compiled_kernels"] == 4 + 3
    assert [row["device"] for row in report["backends"]] == ["cpu", "cuda"] * len(OPERATORS)
    assert report["problems"] == []
    assert "GPU [0]" in text
    faster = "float32 backward, 256 channels, 4096 pixels"
    assert [tuple(row.values()) for row in report["proofs"]] == [
        (operator, device, "bfloat16, float16, float32", faster, "/one.json")
        for operator in OPERATORS
        for device in ("cuda:0", "cuda:1")
    ]


@needs_nvrtc
def test_kernels_that_have_not_proved_right(sandbox, gpus):
    gpus["deform_conv2d"] = Verdict(why_not="float32: 3x3: output wrong")
    report, _ = doctor()
    assert [row["right"] for row in report["proofs"]][:2] == ["none"] * 2
    [found] = report["problems"]
    assert found["problem"].endswith("deform_conv2d are not trusted on this kind of GPU: float32: 3x3: output wrong")
    assert found["remedy"].startswith("`dcnrun kernels prove` tries again")


@needs_nvrtc
def test_why_a_gpu_does_not_run_our_kernel(sandbox, gpus, monkeypatch):
    monkeypatch.setattr(dispatch, "backend_for", lambda device, dtype: "torchvision")

    def why():
        return of_gpus(doctor()[0]["backends"])[0]["why"]

    assert "has not proved right on this kind of GPU; DCNRUN_BACKEND=cuda" in why()
    sandbox.forget()
    sandbox.cuda_source.write_text("int x = ;")
    report, _ = doctor()
    assert {row["state"] for row in of_gpus(report["kernels"])} == {"unavailable"}
    assert [f"{NAME}.cu(1): error" in problem["problem"] for problem in report["problems"]] == [True]
    assert why() == "our kernel is not available for all of them"
    monkeypatch.setenv("DCNRUN_BACKEND", "reference")
    assert why() == "DCNRUN_BACKEND is reference"


@needs_nvrtc
def test_cuda_kernels_can_be_compiled_without_a_gpu(sandbox):
    report, _ = doctor()
    assert re.fullmatch(r"\d+\.\d+", report["cuda_compiler"]["nvrtc"])
    assert "kernels build --cuda all" in report["cuda_compiler"]["without_a_gpu"]


def test_why_cuda_kernels_can_not_be_compiled(sandbox, monkeypatch):
    monkeypatch.setattr(find_nvrtc, "_known", {(): KernelUnavailable("this torch is for CPUs", "install another")})
    report, _ = doctor()
    assert report["cuda_compiler"] == {"none": "this torch is for CPUs"}
    # Of no concern to a machine without a GPU.
    assert report["problems"] == []


def test_a_gpu_that_does_not_work(sandbox, monkeypatch):
    def warn():
        warnings.warn("CUDA initialization: The NVIDIA driver is too old\nmore", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", warn)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    report, _ = doctor()
    assert report["cuda_devices"] == []
    assert report["problems"][0]["problem"] == "CUDA: CUDA initialization: The NVIDIA driver is too old"


def test_operators_that_can_not_be_imported(sandbox, monkeypatch):
    # So that what is imported here goes again, also where nothing was before.
    monkeypatch.setitem(sys.modules, "dcnrun.doctor", None)
    monkeypatch.delitem(sys.modules, "dcnrun.doctor")
    monkeypatch.setitem(sys.modules, "dcnrun.ops", None)
    answer, text = doctor(exit_code=1)
    assert "Install versions of torch and torchvision that belong together" in answer["error"]
    assert torch.__version__.split("+")[0] in text


def run_process(*arguments, **environment):
    code = str(Path(dcnrun.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-m", "dcnrun", *arguments],
        env=os.environ | {"PYTHONPATH": code, "CUDA_VISIBLE_DEVICES": ""} | environment,
        capture_output=True,
        text=True,
        timeout=200,  # where no test has compiled the kernels yet, it does
    )


def test_a_machine_without_a_compiler(tmp_path):
    result = run_process("doctor", "--json", PATH="", CXX="", DCNRUN_CACHE=str(tmp_path))
    assert result.returncode == 0
    report = json.loads(result.stdout)
    assert report["compiler"] == {"none": "no C++ compiler was found (c++, g++, clang++)"}
    assert report["backends"][0]["float32"] == "torchvision"
    assert len(report["problems"]) == 1
    # The log's line on what was lost would say it twice.
    assert result.stderr.count("no C++ compiler was found") == 2


def test_the_kernels_of_this_project_load():
    report = json.loads(run_process("doctor", "--json").stdout)
    assert {report["backends"][0][dtype] for dtype in DTYPES} == {"kernel"}
    if sys.platform == "linux":
        assert len(report["openmp_runtimes"]) == 1
