import re
from dataclasses import replace

import pytest
import torch

from dcnrun.ops.jit import build_spec, nvrtc
from dcnrun.ops.jit.build_spec import cpu_build_spec, cuda_build_spec, kernel_names
from dcnrun.ops.jit.compiler import Compiler
from dcnrun.ops.jit.nvrtc import Nvrtc
from tests.ops.jit.fakes import NAME

GCC = Compiler(("/usr/bin/g++",), "g++ 12.2.0")


def name(compiler=GCC):
    return cpu_build_spec(NAME, torch.float32).file_name(compiler)


def test_the_name_says_what_it_is_and_stays_the_same(sandbox):
    assert re.fullmatch(rf"{NAME}-float32-[0-9a-f]{{12}}\.so", name())
    assert name() == name()
    (sandbox.source.parent / "notes.txt").touch()
    (sandbox.source.parent / "other_kernel.cpp").touch()
    assert name() == name()


def source(sandbox, monkeypatch):
    sandbox.source.write_text(sandbox.source.read_text() + "// more\n")


def header(sandbox, monkeypatch):
    sandbox.header.write_text("#define ANSWER 43\n")


def new_header(sandbox, monkeypatch):
    (sandbox.source.parent / "deep").mkdir()
    (sandbox.source.parent / "deep" / "new.hpp").touch()


def flags(sandbox, monkeypatch):
    monkeypatch.setenv("DCNRUN_CXXFLAGS", "-fsanitize=address")


def features(sandbox, monkeypatch):
    monkeypatch.setattr(build_spec, "cpu_features", lambda: "avx2 fma")


def machine(sandbox, monkeypatch):
    monkeypatch.setattr(build_spec.platform, "machine", lambda: "riscv64")


@pytest.mark.parametrize("change", [source, header, new_header, flags, features, machine])
def test_whatever_decides_the_content_changes_the_name(sandbox, monkeypatch, change):
    before = name()
    change(sandbox, monkeypatch)
    assert name() != before


def test_the_compiler_changes_the_end_of_the_name(sandbox):
    names = {name(compiler) for compiler in (GCC, Compiler(("/opt/g++",), GCC.version), Compiler(GCC.command, "13"))}
    assert len(names) == 3
    start = cpu_build_spec(NAME, torch.float32).file_start()
    assert all(name.startswith(start) for name in names)


def test_each_dtype_has_a_name(sandbox):
    assert len({cpu_build_spec(NAME, dtype).file_name(GCC) for dtype in build_spec.DEFINES}) == 4


NVRTC = Nvrtc("13.2", None, "13.2.86", (80, 90), None)


def cuda_name(dtype=torch.float16, architecture="sm_90a", nvrtc=NVRTC):
    return cuda_build_spec(NAME, dtype, architecture).file_name(nvrtc)


def test_the_name_of_a_cuda_kernel(sandbox):
    assert re.fullmatch(rf"{NAME}-float16-sm_90a-[0-9a-f]{{12}}\.cubin", cuda_name())
    assert re.fullmatch(rf"{NAME}-float16-compute_90-[0-9a-f]{{12}}\.ptx", cuda_name(architecture="compute_90"))
    before = cuda_name()
    (sandbox.cuda_source.parent / "notes.txt").touch()
    sandbox.source.write_text("// of the CPU")
    assert cuda_name() == before


def test_whatever_decides_the_content_changes_the_name_of_a_cuda_kernel(sandbox, monkeypatch):
    names = {
        cuda_name(),
        cuda_name(dtype=torch.bfloat16),
        cuda_name(architecture="sm_80"),
        cuda_name(nvrtc=replace(NVRTC, version="13.3")),
        cuda_name(nvrtc=replace(NVRTC, headers_version="13.2.87")),
    }
    monkeypatch.setattr(nvrtc, "_OPTIONS", ("--std=c++20",))
    names.add(cuda_name())
    for name in ("factor.h", "new.cuh", f"{NAME}.cu"):
        (sandbox.cuda_source.parent / name).write_text("// new")
        names.add(cuda_name())
    assert len(names) == 9


def test_every_kernel_has_a_source(sandbox):
    (sandbox.cuda_source.parent / "another.cu").touch()
    assert (kernel_names("cpu"), kernel_names("cuda")) == ([NAME], ["another", NAME])
