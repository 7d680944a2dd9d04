"""The process of a proof, on a machine without a GPU."""

import json
import signal
import subprocess
import sys

import pytest
import torch

from dcnrun.ops import DISPATCH
from dcnrun.ops.proof import child, prove
from dcnrun.ops.proof.first_use import run
from dcnrun.ops.proof.verdict import verdict_of_report

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def test_every_operator_has_problems():
    for operator, dispatch in DISPATCH.items():
        subject = child.subject_of(operator)
        assert (subject.name, subject.computes) == (operator, dispatch)


@no_gpu
def test_without_a_gpu_it_says_so(tmp_path, monkeypatch):
    """And takes no module from the folder that it is started in."""
    (tmp_path / "json.py").write_text("raise SystemExit('a file of the user')")
    monkeypatch.chdir(tmp_path)
    end = run(["deform_conv2d", "0", "60", str(tmp_path / "found.json")], 60)
    assert end.status == 1
    assert "NVIDIA" in end.said or "CUDA" in end.said
    assert [file.name for file in tmp_path.iterdir()] == ["json.py"]


def test_it_imports_neither_torchvisions_models_nor_pytorchs_compiler():
    """And has torchvision's operators."""
    script = f"""
import runpy, sys
child = runpy.run_path({child.__file__!r}, run_name="child")
child["import_torchvision_operators"]()
import torch
from dcnrun.ops.proof.prove import exact
from dcnrun.ops.proof.problem import definition, differences, results
from dcnrun.ops.common.dispatch import Backend
subject = child["subject_of"]("deform_conv2d")
problem = subject.problems(0)[0]
with exact(True):
    got = results(subject, Backend.TORCHVISION, problem, torch.float32, torch.device("cpu"))
assert not differences(problem, got, definition(subject, problem))
print(*({{"torchvision.models", "torch._dynamo", "torchvision.extension"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["torchvision.extension"]


def test_it_ends_itself(monkeypatch):
    """Wherever it hangs, and whoever started it is gone."""

    def alarm(seconds):
        raise InterruptedError(seconds)

    monkeypatch.setattr(signal, "alarm", alarm)
    with pytest.raises(InterruptedError, match="12"):
        child.main(["answers", "0", "7"])


def test_what_was_found_is_written(tmp_path, monkeypatch):
    """With a GPU that is made up: what it computes, the CPU does."""
    asked, true = [], torch.ones
    monkeypatch.setattr(signal, "alarm", lambda seconds: None)
    monkeypatch.setattr(torch.cuda, "set_device", asked.append)
    monkeypatch.setattr(torch, "ones", lambda *size, device: true(*size))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(prove, "prove", lambda subject, device, clock: {"of": subject.name, "on": str(device)})
    assert child.main(["answers", "1", "7"]) == 0
    assert child.main(["deform_roi_pool", "1", "7", str(tmp_path / "found.json")]) == 0
    assert asked == [torch.device("cuda", 1)] * 2
    assert json.loads((tmp_path / "found.json").read_text()) == {"of": "deform_roi_pool", "on": "cuda:1"}


def test_seconds_of_one_call(monkeypatch):
    calls = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            calls.append("record")

        def synchronize(self):
            calls.append("wait")

        def elapsed_time(self, other):
            return 8.0  # milliseconds

    monkeypatch.setattr(torch.cuda, "Event", Event)
    assert child._seconds_on_gpu(lambda: calls.append("work")) == 0.002
    assert calls == ["record", *["work"] * 4, "record", "wait"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("operator", DISPATCH)
def test_our_kernels_on_a_true_gpu(operator, tmp_path, monkeypatch):
    monkeypatch.setenv("DCNRUN_CACHE", str(tmp_path))
    from dcnrun.ops.proof.first_use import prove_now
    from dcnrun.ops.proof.verdict import kind_of

    report, file = prove_now(kind_of(operator, 0), 0)
    assert report["failure"] == ""
    assert verdict_of_report(report, file).right == {"float32", "float16", "bfloat16"}, report["dtypes"]
