import sys

import pytest

from dcnrun.ops.jit import processor

X86 = """processor\t: 0
model name\t: A CPU @ 2.00GHz
flags\t\t: sse2 avx2 fma

processor\t: 1
model name\t: A CPU @ 2.00GHz
flags\t\t: sse2 avx2 fma
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd sve\n"


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    """Set what /proc/cpuinfo says."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    processor.cpu_features.cache_clear()
    yield (tmp_path / "cpuinfo").write_text
    processor.cpu_features.cache_clear()


def test_x86(cpuinfo):
    cpuinfo(X86)
    assert processor.cpu_features() == "avx2 fma sse2"
    assert processor.cpu_model() == "A CPU @ 2.00GHz"
    assert processor.vector_instructions() == "AVX2"


@pytest.mark.parametrize(("text", "expected"), [(ARM, "SVE"), (ARM.replace("sve", ""), "NEON")])
def test_arm(cpuinfo, text, expected):
    cpuinfo(text)
    assert processor.vector_instructions() == expected
    assert processor.cpu_model()


def test_a_system_without_cpuinfo(cpuinfo, monkeypatch):
    monkeypatch.setattr(processor.platform, "processor", lambda: "something")
    assert (processor.cpu_features(), processor.cpu_model()) == ("something", "something")
    assert processor.vector_instructions() == "none known"


def test_macos(cpuinfo, monkeypatch):
    said = "machdep.cpu.brand_string: Apple M1\nhw.optional.neon: 1\nhw.optional.avx512f: 0\n"
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(processor.subprocess, "run", lambda *_, **__: type("Ran", (), {"stdout": said}))
    assert processor.cpu_features() == said
    assert processor.cpu_model() == "Apple M1"
    assert processor.vector_instructions() == "NEON"
