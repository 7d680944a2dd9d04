"""What is kept of a proof, and what of that is believed."""

import json
from types import SimpleNamespace

import pytest
import torch

from dcnrun.ops.jit import build_spec
from dcnrun.ops.proof import verdict
from dcnrun.ops.proof.verdict import EVERY_WORK, FORMAT, Kind, Work, keep, kind_of, read, read_report, verdict_of_report
from dcnrun.resources import resource_dir
from tests.ops.jit.fakes import needs_nvrtc

FACTS = {"gpu": "GPU", "architecture": "sm_90", "sources": "0123"}
KIND = Kind("deform_conv2d", FACTS)


def time_of(ours, torchvision, pass_="forward", channels=64, pixels=4096):
    return {"pass": pass_, "channels": channels, "pixels": pixels, "ours": ours, "torchvision": torchvision}


def report(**changed):
    right = {
        "right": True,
        "why_not": "",
        "wrong": [],
        "times": [time_of(1.0, 2.0), time_of(2.0, 1.0, "backward", 256)],
    }
    wrong = {"right": False, "why_not": "3x3: output wrong", "wrong": [], "times": []}
    dtypes = {"float32": right, "bfloat16": wrong}
    return {"format": FORMAT, "operator": KIND.operator, "kind": FACTS, "dtypes": dtypes, "failure": ""} | changed


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DCNRUN_CACHE", str(tmp_path))


def test_what_was_kept_is_read():
    assert read(KIND) is None
    file = keep(KIND, report())
    assert file == KIND.file
    found = read(KIND)
    assert found.right == {"float32"}
    assert found.slower == {"float32": {Work(True, 256, 4096)}}
    assert found.why_not == "bfloat16: 3x3: output wrong"
    assert found.file == file
    assert read_report(KIND) == report()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: "",
        lambda text: "[]",
        lambda text: "null",
        lambda text: "[" * 100_000,
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: text.replace("deform_conv2d", "deform_roi_pool"),
        lambda text: text.replace("sm_90", "sm_80"),
        lambda text: text.replace('"dtypes": {', '"dtypes": {"float16": 1, '),
        lambda text: text.replace('"pass": "backward"', '"pass": "sideways"'),
        lambda text: text.replace('"channels": 256', '"channels": null'),
        lambda text: text.replace('"ours": 2.0', '"ours": "2"'),
        lambda text: text.replace('"failure": ""', '"success": ""'),
    ],
)
def test_a_file_that_is_damaged_or_of_another_version_is_none(damage):
    file = keep(KIND, report())
    text = file.read_text()
    assert damage(text) != text
    file.write_text(damage(text))
    assert read(KIND) is None
    keep(KIND, report())
    assert read(KIND).right == {"float32"}


def test_right_is_a_word_and_not_whatever_counts_as_true():
    dtypes = {"float32": {"right": "no", "why_not": "", "times": []}}
    assert verdict_of_report(report(dtypes=dtypes), None).right == frozenset()


def test_what_failed_as_a_whole_is_right_nowhere():
    found = verdict_of_report(report(dtypes={}, failure="the proof crashed"), None)
    assert (found.right, found.why_not) == (frozenset(), "the proof crashed")


def test_others_may_not_write_verdicts(tmp_path):
    file = keep(KIND, report())
    file.chmod(0o666)
    assert read(KIND) is None
    tmp_path.chmod(0o777)
    assert read(KIND) is None
    assert keep(KIND, report()) is None
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("ours", [1.0, 1.04, 0.1])
def test_torchvisions_is_taken_only_where_it_is_clearly_faster(ours):
    dtypes = {"float32": {"right": True, "why_not": "", "times": [time_of(ours, 1.0)]}}
    assert verdict_of_report(report(dtypes=dtypes), None).slower == {"float32": frozenset()}


def test_every_call_has_a_class_that_is_timed():
    calls = [(1, 1), (64, 4096), (128, 8192), (129, 8193), (256, 16384), (4096, 10**9)]
    classes = [Work.of(False, *call) for call in calls]
    assert [(work.channels, work.pixels) for work in classes] == [(64, 4096)] * 3 + [(256, 16384)] * 3
    assert set(classes) <= set(EVERY_WORK)
    assert len(set(EVERY_WORK)) == len(EVERY_WORK) == 8


@needs_nvrtc
def test_a_kind_is_everything_that_decides_what_is_computed(monkeypatch, tmp_path):
    gpu = SimpleNamespace(name="NVIDIA H100", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: gpu)
    monkeypatch.setattr(verdict, "_driver", lambda: "550.54, CUDA 12040")
    first = kind_of("deform_conv2d", 0)
    assert kind_of("deform_conv2d", 1) == first
    files = {first.file, kind_of("deform_roi_pool", 0).file}
    for change in (
        lambda: monkeypatch.setattr(gpu, "name", "NVIDIA H200"),
        lambda: monkeypatch.setattr(verdict, "_driver", lambda: "560.1, CUDA 12060"),
        lambda: monkeypatch.setattr(torch, "__version__", "9.9"),
        lambda: monkeypatch.setattr(build_spec, "resource_dir", lambda name: _changed_sources(tmp_path)),
    ):
        change()
        files.add(kind_of("deform_conv2d", 0).file)
    assert len(files) == 6
    assert first.file.name.startswith("deform_conv2d-sm_90-")


def _changed_sources(folder):
    """Another header, beside the same source."""
    cuda = folder / "cuda"
    cuda.mkdir(exist_ok=True)
    (cuda / "deform_conv2d.cu").write_text((resource_dir("kernels") / "cuda" / "deform_conv2d.cu").read_text())
    (cuda / "team.h").write_text("// other\n")
    return folder


def test_a_report_is_json_that_people_can_read():
    assert json.loads(keep(KIND, report()).read_text())["dtypes"]["bfloat16"]["why_not"] == "3x3: output wrong"
