import re

import pytest
import torch

from dcnrun.ops.jit import recipe
from dcnrun.ops.jit.compiler import Compiler
from dcnrun.ops.jit.recipe import find_recipe
from tests.ops.jit.workshop import NAME

GCC = Compiler(("/usr/bin/g++",), "g++ 12.2.0")


def name(compiler=GCC):
    return find_recipe(NAME, torch.float32).file_name(compiler)


def test_the_name_says_what_it_is_and_stays_the_same(workshop):
    assert re.fullmatch(rf"{NAME}-float32-[0-9a-f]{{12}}\.so", name())
    assert name() == name()
    (workshop.source.parent / "notes.txt").touch()
    (workshop.source.parent / "other_kernel.cpp").touch()
    assert name() == name()


def source(workshop, monkeypatch):
    workshop.source.write_text(workshop.source.read_text() + "// more\n")


def header(workshop, monkeypatch):
    workshop.header.write_text("#define ANSWER 43\n")


def new_header(workshop, monkeypatch):
    (workshop.source.parent / "deep").mkdir()
    (workshop.source.parent / "deep" / "new.hpp").touch()


def flags(workshop, monkeypatch):
    monkeypatch.setenv("DCNRUN_CXXFLAGS", "-fsanitize=address")


def features(workshop, monkeypatch):
    monkeypatch.setattr(recipe, "cpu_features", lambda: "avx2 fma")


def machine(workshop, monkeypatch):
    monkeypatch.setattr(recipe.platform, "machine", lambda: "riscv64")


@pytest.mark.parametrize("change", [source, header, new_header, flags, features, machine])
def test_whatever_decides_the_content_changes_the_name(workshop, monkeypatch, change):
    before = name()
    change(workshop, monkeypatch)
    assert name() != before


def test_the_compiler_changes_the_end_of_the_name(workshop):
    names = {name(compiler) for compiler in (GCC, Compiler(("/opt/g++",), GCC.version), Compiler(GCC.command, "13"))}
    assert len(names) == 3
    start = find_recipe(NAME, torch.float32).file_start()
    assert all(name.startswith(start) for name in names)


def test_each_dtype_has_a_name(workshop):
    assert len({find_recipe(NAME, dtype).file_name(GCC) for dtype in recipe.DEFINES}) == 4
