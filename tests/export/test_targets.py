"""What can be exported: a row for each kind of file, and what their names and options say."""

import sys
from dataclasses import fields
from pathlib import Path

import pytest

from dcnrun.errors import DcnrunError, UsageError
from dcnrun.export.formats import ExportFormat
from dcnrun.export.targets import TARGETS, Precision, Settings, Target, parse_size, target_of


@pytest.mark.parametrize("target", Target)
def test_every_kind_of_file_has_a_row(target):
    traits = TARGETS[target]
    assert traits.settings <= {field.name for field in fields(Settings)}
    assert traits.suffix.startswith(".")
    assert "install" in traits.install
    assert isinstance(traits.load(), ExportFormat)


@pytest.mark.parametrize("target", Target)
def test_a_name_says_the_kind_of_file(target):
    file = Path("model").with_suffix(TARGETS[target].suffix)
    assert target_of(file, target) is target
    assert TARGETS[target_of(file)].suffix == file.suffix


@pytest.mark.parametrize("name", ["model", "model.bin", "model.onxn"])
def test_a_name_that_says_nothing_is_refused_unless_the_kind_is_given(name):
    with pytest.raises(UsageError, match=rf"--out {name}: .*\.onnx \(ONNX\).*\.param \(ncnn\)"):
        target_of(Path(name))
    assert target_of(Path(name), Target.onnx) is Target.onnx


@pytest.mark.parametrize("target", Target)
def test_what_is_missing_is_said_with_what_installs_it(target, monkeypatch):
    monkeypatch.setitem(sys.modules, TARGETS[target].modules[0], None)
    with pytest.raises(DcnrunError, match=f"{TARGETS[target].title} files need {TARGETS[target].modules[0]}") as error:
        TARGETS[target].require_installed()
    assert TARGETS[target].install in str(error.value)


@pytest.mark.parametrize("size", ["40", "40x", "0x40", "-1x2", "40x56x3", "axb", ""])
def test_sizes_that_are_none(size):
    with pytest.raises(UsageError, match="512x1024"):
        parse_size(size)


def test_a_size():
    assert parse_size("40x56") == (40, 56)


def test_what_a_kind_of_file_does_not_have_is_refused():
    everything = Settings(19, (4, 4), Precision.int8, True, True, True)
    asked = {field.name for field in fields(Settings)}
    for target, traits in TARGETS.items():
        lacking = asked - traits.settings
        if lacking:
            with pytest.raises(UsageError, match=rf"is not for --to {target}, but for .*: leave it out"):
                everything.require(target)
        else:
            everything.require(target)
        Settings(with_preprocessing=False).require(target)


def test_precisions_that_a_kind_of_file_does_not_have():
    with pytest.raises(UsageError, match="--precision int8 is not for --to ncnn, but for onnx, openvino"):
        Settings(precision=Precision.int8).require(Target.ncnn)
    with pytest.raises(UsageError, match="--quantize-deformable goes with --precision int8"):
        Settings(precision=Precision.fp16, quantize_deformable=True).require(Target.onnx)
