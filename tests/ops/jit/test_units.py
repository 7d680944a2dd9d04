"""Which of the CPU's units a kernel's library is made for, and what happens where one can't be used."""

import ctypes
import logging
from types import SimpleNamespace

import pytest
import torch

from dcnrun.errors import UsageError
from dcnrun.ops.jit import KernelUnavailable, aot, units
from dcnrun.ops.jit.build_spec import cpu_build_spec
from dcnrun.ops.jit.load import load_spec
from dcnrun.ops.jit.units import Unit, choose, load_best

NAME = "deform_conv2d"
XEON = "amx_bf16 amx_tile avx512_bf16 avx512f"
RYZEN = "avx512_bf16 avx512f"


@pytest.fixture
def machine(monkeypatch):
    """A function that sets the CPU, and what the libraries answer for their units; it returns what is loaded, in turn."""
    units.best.cache_clear()
    units.load_for.cache_clear()
    monkeypatch.delenv("DCNRUN_CPU_UNITS", raising=False)
    loaded = []

    def load(unit, answer=0):
        loaded.append(unit)
        if isinstance(answer, KernelUnavailable):
            raise answer
        return SimpleNamespace(library=SimpleNamespace(dcnrun_deform_conv2d_unit=lambda: answer))

    def install(features, vendor="GenuineIntel", **answers):
        monkeypatch.setattr(units, "cpu_features", lambda: features)
        monkeypatch.setattr(units, "cpu_vendor", lambda: vendor)
        monkeypatch.setattr(units, "load_spec", lambda spec: load(spec.variant, answers.get(spec.variant, 0)))
        monkeypatch.setattr(units, "load", lambda name, dtype: load("vectors"))
        return loaded

    yield install
    units.best.cache_clear()
    units.load_for.cache_clear()


@pytest.mark.parametrize(
    ("features", "vendor", "taken"),
    [
        (XEON, "GenuineIntel", Unit.AMX),
        (RYZEN, "AuthenticAMD", Unit.AVX512_BF16),
        (RYZEN, "GenuineIntel", Unit.VECTORS),
        ("avx2 fma", "AuthenticAMD", Unit.VECTORS),
        ("", "", Unit.VECTORS),
    ],
)
def test_the_first_unit_that_the_cpu_has(machine, features, vendor, taken, caplog):
    loaded = machine(features, vendor)
    choices = [choose(NAME) for _ in range(2)]
    assert [choice.unit for choice in choices] == [taken] * 2
    assert loaded == [taken]
    assert not caplog.records
    assert {*choices[0].why_not} == {unit for unit in units.UNITS if taken is Unit.VECTORS or unit < taken}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (1, "the CPU does not say that it has this unit"),
        (2, "the operating system does not let this process use it"),
        (3, "it gave a wrong answer to a known product"),
        (KernelUnavailable("g++ can't compile it", "take another"), "g++ can't compile it"),
    ],
)
def test_a_unit_that_can_not_be_used_is_left_with_one_line(machine, answer, said, caplog):
    loaded = machine(XEON, amx=answer)
    with caplog.at_level(logging.INFO, "dcnrun"):
        choices = [choose(NAME) for _ in range(2)]
    assert {choice.unit for choice in choices} == {Unit.VECTORS}
    assert choices[0].why_not[Unit.AMX] == said
    assert loaded == ["amx", "vectors"]
    (record,) = caplog.records
    assert record.getMessage().endswith(f"since {said}")


def test_what_is_asked_for_is_used_or_refused(machine, monkeypatch):
    loaded = machine(RYZEN, emulated_amx=0, amx=1)
    for unit in (Unit.VECTORS, Unit.EMULATED_AMX, Unit.AVX512_BF16):
        monkeypatch.setenv("DCNRUN_CPU_UNITS", unit)
        assert load_best(NAME, torch.bfloat16).unit is unit
    assert loaded == ["vectors", "emulated_amx", "avx512_bf16"]
    monkeypatch.setenv("DCNRUN_CPU_UNITS", "amx")
    with pytest.raises(UsageError, match="DCNRUN_CPU_UNITS=amx: the CPU does not say that it has this unit"):
        choose(NAME)
    assert load_best(NAME, torch.float32).unit is Unit.VECTORS
    monkeypatch.setenv("DCNRUN_CPU_UNITS", "tpu")
    with pytest.raises(
        UsageError, match="DCNRUN_CPU_UNITS is 'tpu': it must be one of auto, amx, avx512_bf16, vectors"
    ):
        choose(NAME)


@pytest.mark.parametrize("requested", ["auto", "vectors", "emulated_amx"])
def test_what_is_compiled_ahead(machine, requested, monkeypatch):
    machine(XEON)
    monkeypatch.setenv("DCNRUN_CPU_UNITS", requested)
    wanted = {"auto": ("amx",), "vectors": (), "emulated_amx": ("emulated_amx",)}[requested]
    assert units.buildable(NAME, torch.bfloat16) == wanted
    assert units.buildable(NAME, torch.float32) == units.buildable("deform_roi_pool", torch.bfloat16) == ()


def test_a_compiler_that_does_not_know_a_unit_goes_without(sandbox, monkeypatch, caplog):
    sandbox.source.write_text(sandbox.source.read_text() + "#ifdef DCNRUN_UNIT_AMX\n#error no AMX\n#endif\n")
    monkeypatch.setattr(units, "cpu_features", lambda: XEON)
    monkeypatch.setattr(units, "cpu_vendor", lambda: "GenuineIntel")
    files = aot.build_kernels(["bfloat16"])["files"]
    assert len(files) == 1
    (record,) = caplog.records
    assert "no AMX" in record.getMessage()


@pytest.mark.parametrize("broken", [False, True])
def test_a_unit_that_multiplies_wrong_is_found_out(kernel_backend, broken):
    defines = ["DCNRUN_UNIT_AMX", "DCNRUN_EMULATED_UNITS", *["DCNRUN_BROKEN_UNITS"] * broken]
    library: ctypes.CDLL = load_spec(cpu_build_spec(NAME, torch.bfloat16, "emulated_amx", defines)).library
    assert library.dcnrun_deform_conv2d_unit() == 3 * broken
