import json
import re

import pytest
from typer.testing import CliRunner

from dcnrun.cli import app
from dcnrun.ops.jit import KernelUnavailable, aot
from dcnrun.ops.jit.build_spec import CUDA_DTYPES, DEFINES
from dcnrun.ops.jit.nvrtc import find_nvrtc
from tests.ops.jit.fakes import NAME, needs_nvrtc


def run(*arguments):
    return CliRunner().invoke(app, ["kernels", "build", *arguments])


def test_all_dtypes_then_none(sandbox):
    (sandbox.source.parent / "another.cpp").write_text("")
    result = run()
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 2 * len(DEFINES)
    assert sorted(line.split()[0] for line in lines) == [str(file) for file in sandbox.built()]
    assert all(re.fullmatch(r"/\S+  \d\.\d s", line) for line in lines)
    assert [line.split(maxsplit=1)[1] for line in run().stdout.splitlines()] == ["cached"] * len(lines)


def test_json_of_some_dtypes(sandbox):
    first, again = (json.loads(run("--dtype", "bfloat16", "--json").stdout) for _ in range(2))
    [file] = sandbox.built()
    assert file.name.startswith(f"{NAME}-bfloat16-")
    assert first["files"][0]["file"] == again["files"][0]["file"] == str(file)
    assert first["files"][0]["seconds"] > 0
    assert again["files"][0]["seconds"] is None


def test_a_failure_shows_all_that_the_compiler_said(sandbox):
    sandbox.source.write_text("int first = ;\nint second = ;\n")
    result = run("--json")
    assert result.exit_code == 1
    assert f"{sandbox.source}:2:" in result.stderr
    assert "-march=native" in result.stderr or "-mcpu=native" in result.stderr
    assert "Traceback" not in result.stderr
    assert f"can't compile {NAME}.cpp: {sandbox.source}:1:" in json.loads(result.stdout)["error"]


@pytest.mark.parametrize("broken", ["compiler", "cache"])
def test_what_can_not_be_built_or_kept(sandbox, broken):
    if broken == "compiler":
        sandbox.leave_no_compiler()
    else:
        sandbox.cache.write_text("a file where the folder should be")
    result = run()
    assert result.exit_code == 1
    _, error = result.stderr.splitlines()
    assert error.startswith("error: ")


# For GPUs.


def built_for(result):
    """The files' names without their hashes."""
    assert result.exit_code == 0, result.stderr
    return [line.split()[0].rpartition("/")[2].rpartition("-")[0] for line in result.stdout.splitlines()]


@needs_nvrtc
def test_cuda_kernels_without_a_gpu(sandbox):
    sandbox.leave_no_compiler()
    result = run("--cuda", "sm_80", "--cuda", "sm_90a", "--dtype", "float16", "--dtype", "float64")
    assert built_for(result) == [f"{NAME}-float16-sm_80", f"{NAME}-float16-sm_90a"]
    assert len(sandbox.built()) == 2
    everything = run("--cuda", "all", "--cuda", "sm_80")
    assert len(built_for(everything)) == len(CUDA_DTYPES) * len(aot.ARCHITECTURES) == len(sandbox.built())
    assert everything.stdout.count("cached") == 2


@needs_nvrtc
def test_by_default_the_cuda_kernels_are_those_of_this_machine(sandbox, monkeypatch):
    monkeypatch.setattr(aot, "gpus", lambda: range(3))
    monkeypatch.setattr(aot, "architecture_of", lambda index: ["sm_90a", "sm_80", "sm_90a"][index])
    assert built_for(run("--dtype", "bfloat16")) == [
        f"{NAME}-bfloat16",
        f"{NAME}-bfloat16-sm_90a",
        f"{NAME}-bfloat16-sm_80",
    ]


@needs_nvrtc
def test_a_failure_shows_all_that_nvrtc_said(sandbox):
    sandbox.cuda_source.write_text("int first = ;\nint second = ;\n")
    result = run("--cuda", "sm_80", "--json")
    assert result.exit_code == 1
    assert f"{sandbox.cuda_source}(2): error" in result.stderr
    assert f"can't compile {NAME}.cu: {sandbox.cuda_source}(1): error" in json.loads(result.stdout)["error"]
    assert "does not compile for sm_11" in run("--cuda", "sm_11").stderr


def test_no_nvrtc(sandbox, monkeypatch):
    monkeypatch.setattr(find_nvrtc, "_known", {(): KernelUnavailable("there is no NVRTC", "install torch for CUDA")})
    result = run("--cuda", "sm_80")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[1:] == ["error: there is no NVRTC; install torch for CUDA"]
    assert run("--dtype", "float32").exit_code == 0
