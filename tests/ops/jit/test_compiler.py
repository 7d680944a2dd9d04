import sys
import time
from pathlib import Path

import pytest
import torch

from dcnrun.ops.jit import KernelUnavailable, compiler, load, load_cpu
from dcnrun.ops.jit.compiler import find_compiler
from tests.ops.jit.fakes import NAME, calls

ONE = NAME, torch.float32


def program(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {name} 1.2.3\n")
    path.chmod(0o755)
    return path


def test_the_compiler_is_that_of_cxx_else_the_first_on_path(sandbox, tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in ("clang++", "g++", "c++"):
        path = program(folder, name)
        assert find_compiler() == compiler.Compiler((str(path),), f"{name} 1.2.3\n")
    own = program(tmp_path, "own")
    monkeypatch.setenv("CXX", f"{own} --arch 'a b'")
    assert find_compiler().command == (str(own), "--arch", "a b")
    monkeypatch.setenv("CXX", "")
    assert find_compiler().command == (str(folder / "c++"),)


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("CXX", "no-such-compiler -O9", "CXX is no-such-compiler, and there is no such program"),
        ("CXX", "g++ '", "CXX is .*No closing quotation"),
        ("DCNRUN_CXXFLAGS", "-O2 '", "DCNRUN_CXXFLAGS is .*No closing quotation"),
        ("DCNRUN_CXXFLAGS", "-fno-such-flag", "can't compile .*-fno-such-flag"),
    ],
)
def test_wrong_settings(sandbox, monkeypatch, variable, value, reason):
    monkeypatch.setenv(variable, value)
    with pytest.raises(KernelUnavailable, match=reason):
        load_cpu(*ONE)


def test_a_compiler_that_does_not_work(sandbox):
    sandbox.compiler(before="echo install the tools first; exit 1\n")
    with pytest.raises(KernelUnavailable, match=r"own-c\+\+ does not work: install the tools first; install"):
        load_cpu(*ONE)


def test_a_compiler_that_can_not_be_run(sandbox):
    sandbox.compiler().write_text("not a program")
    with pytest.raises(KernelUnavailable, match=r"own-c\+\+ can't be run: .*; install"):
        load_cpu(*ONE)


def test_flags_of_ones_own_come_last(sandbox, monkeypatch):
    monkeypatch.setenv("DCNRUN_CXXFLAGS", "-DOTHER='1 + 1' -O1")
    sandbox.source.write_text(sandbox.source.read_text().replace("ANSWER;", "OTHER;"))
    assert load_cpu(*ONE).answer() == 2
    flags = load.load(*ONE).built.record["flags"]
    assert flags[-2:] == ["-DOTHER=1 + 1", "-O1"]
    assert not any("fast-math" in flag for flag in flags)


def test_an_error_in_the_source(sandbox):
    script = sandbox.compiler()
    sandbox.source.write_text("#warning look out\nint first = ;\nint second = ;\n")
    with pytest.raises(KernelUnavailable) as raised:
        load_cpu(*ONE)
    problem = raised.value
    assert f"can't compile {NAME}.cpp: {sandbox.source}:2:" in problem.reason
    assert "\n" not in problem.reason + problem.remedy
    assert "kernels build" in problem.remedy
    assert f"{sandbox.source}:3:" in problem.output
    before = calls(script)
    with pytest.raises(KernelUnavailable, match="can't compile"):
        load_cpu(*ONE)
    assert calls(script) == before
    assert (sandbox.built(), sandbox.leftovers()) == ([], [])


@pytest.mark.parametrize("flag", ["-fopenmp", compiler.kernel_flags("X").optional[0]])
def test_a_flag_that_the_compiler_lacks(sandbox, flag):
    sandbox.compiler(
        before=f'for word in "$@"; do if [ "$word" = {flag} ]; then echo "error: unknown {flag}"; exit 1; fi; done\n'
    )
    library = load_cpu(*ONE)
    assert library.answer() == 42
    assert flag not in load.load(*ONE).built.record["flags"]
    assert set(compiler.kernel_flags("X").optional) - {flag} <= set(load.load(*ONE).built.record["flags"])
    if flag == "-fopenmp":
        assert library.threads() == 1


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("kill -SEGV $$\n", "exit status -11"),
        ("echo internal compiler error: oh no; exit 4\n", "internal compiler error: oh no"),
        ("exit 0\n", "exit status 0"),
    ],
)
def test_a_compiler_that_makes_nothing(sandbox, before, reason):
    sandbox.compiler(before=f'if [ "$1" != --version ]; then {before.strip()}; fi\n')
    with pytest.raises(KernelUnavailable, match=f"can't compile {NAME}.cpp: {reason}"):
        load_cpu(*ONE)


def is_running(process_id: int) -> bool:
    status = Path(f"/proc/{process_id}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("hangs_when", ['"$1" = --version', '"$1" != --version'])
def test_a_compiler_that_hangs(sandbox, monkeypatch, hangs_when):
    monkeypatch.setattr(compiler, "SECONDS_TO_COMPILE", 0.5)
    monkeypatch.setattr(compiler, "_SECONDS_TO_ANSWER", 0.5)
    child = sandbox.folder / "child"
    sandbox.compiler(before=f'if [ {hangs_when} ]; then sleep 60 & echo $! > "{child}"; wait; fi\n')
    started = time.monotonic()
    with pytest.raises(KernelUnavailable, match=r"own-c\+\+ did not end within 0 s"):
        load_cpu(*ONE)
    assert 0.4 < time.monotonic() - started < 5
    if sys.platform == "linux":
        assert not is_running(int(child.read_text()))
    # No other kernel waits as long again.
    started = time.monotonic()
    with pytest.raises(KernelUnavailable, match="did not end"):
        load_cpu(NAME, torch.float64)
    assert time.monotonic() - started < 0.4
