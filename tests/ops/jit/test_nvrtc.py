import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError

import pytest
import torch

from dcnrun.ops.jit import KernelUnavailable, compile_cuda, nvrtc
from dcnrun.ops.jit.nvrtc import Nvrtc, best_architecture, find_nvrtc
from tests.ops.jit.fakes import NAME, needs_nvrtc

ONE = NAME, torch.float32, "sm_80"


@pytest.fixture
def not_known():
    """Know as little as a new process."""
    find_nvrtc.cache_clear()
    yield
    find_nvrtc.cache_clear()


@needs_nvrtc
def test_where_it_is():
    found = find_nvrtc()
    assert (found.headers / "cuda_bf16.h").is_file()
    assert found.headers_version.split(".")[0] == found.version.split(".")[0]
    assert {80, 86, 89, 90} <= set(found.capabilities)
    assert found is find_nvrtc()


@needs_nvrtc
def test_code_for_an_architecture(sandbox):
    cubins = {
        (dtype, name): compile_cuda(NAME, dtype, name)
        for dtype in (torch.float32, torch.bfloat16)
        for name in ("sm_80", "sm_90a")
    }
    assert len(set(cubins.values())) == 4
    assert all(cubin.startswith(b"\x7fELF") and b".text.multiply" in cubin for cubin in cubins.values())
    assert compile_cuda(*ONE) == compile_cuda(*ONE)
    assert sandbox.built() == []


@needs_nvrtc
def test_ptx_for_a_virtual_architecture(sandbox):
    ptx = compile_cuda(NAME, torch.float16, "compute_90")
    assert b".target sm_90" in ptx
    assert b".entry multiply" in ptx
    # The driver reads it up to there.
    assert ptx.endswith(b"\0")


@needs_nvrtc
@pytest.mark.parametrize("place", ["source", "header"])
def test_an_error_tells_file_and_line(sandbox, place):
    file = sandbox.cuda_source if place == "source" else sandbox.cuda_header
    file.write_text(
        "#define FACTOR 2\nstatic __device__ int first = ;\nstatic __device__ int second = ;\n"
        + sandbox.cuda_source.read_text() * (place == "source")
    )
    with pytest.raises(KernelUnavailable) as raised:
        compile_cuda(*ONE)
    problem = raised.value
    assert f"can't compile {NAME}.cu: {file}(2): error: expected an expression" in problem.reason
    assert "\n" not in problem.reason + problem.remedy
    assert "kernels build" in problem.remedy
    assert f"{file}(3): error" in problem.output
    assert "--gpu-architecture=sm_80" in problem.output


@needs_nvrtc
@pytest.mark.parametrize("architecture", ["sm_11", "sm_ninety", "native", "sm_80 -G"])
def test_an_architecture_that_it_does_not_know(sandbox, architecture):
    with pytest.raises(KernelUnavailable, match=rf"does not compile for {architecture}; it does for .*sm_80"):
        compile_cuda(NAME, torch.float32, architecture)


KNOWN = Nvrtc("13.2", None, "13.2.1", (75, 80, 86, 89, 90, 100, 103, 120), None)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((8, 0), "sm_80"),
        ((8, 6), "sm_86"),
        ((9, 0), "sm_90a"),
        ((10, 3), "sm_103"),
        ((12, 0), "sm_120"),
        # Of a GPU that is younger than NVRTC, the newest of its kind as PTX.
        ((8, 7), "compute_86"),
        ((10, 9), "compute_103"),
        ((12, 1), "compute_120"),
    ],
)
def test_what_is_compiled_for_a_gpu(capability, expected):
    assert best_architecture(KNOWN, capability) == expected


@pytest.mark.parametrize("capability", [(7, 0), (11, 0), (13, 0)])
def test_a_gpu_that_it_has_nothing_for(capability):
    with pytest.raises(
        KernelUnavailable, match=rf"13.2 does not compile for .* {capability[0]}\.{capability[1]}; install"
    ):
        best_architecture(KNOWN, capability)
    assert best_architecture(replace(KNOWN, capabilities=(*KNOWN.capabilities, 70, 110, 130)), capability)


def test_a_torch_without_cuda(not_known, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(KernelUnavailable, match="this one is for CPUs; install torch for CUDA"):
        find_nvrtc()


@pytest.mark.parametrize(
    ("cuda", "wheels"), [("13.2", r"13\.\*.* nvidia-cuda-nvrtc$"), ("12.8", r"12\.\*.* nvidia-cuda-nvrtc-cu12$")]
)
def test_no_bindings(not_known, monkeypatch, cuda, wheels):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    for _ in range(2):
        with pytest.raises(
            KernelUnavailable, match=rf"NVRTC can't be loaded: .*; pip install \"cuda-bindings=={wheels}"
        ):
            find_nvrtc()


@needs_nvrtc
def test_no_library(not_known, monkeypatch):
    from cuda.bindings import nvrtc as api

    def fail():
        raise RuntimeError("libnvrtc.so.13 was not found")

    monkeypatch.setattr(api, "nvrtcVersion", fail)
    with pytest.raises(KernelUnavailable, match=r"can't be loaded: libnvrtc.so.13 was not found; pip install"):
        find_nvrtc()


@needs_nvrtc
def test_no_headers(not_known, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(nvrtc, "distribution", missing)
    with pytest.raises(KernelUnavailable, match=r"cuda_fp16.h.* not found; pip install .*nvidia-cuda-runtime"):
        find_nvrtc()
