"""The process of a proof, on a machine without a GPU."""

import signal

import pytest
import torch

from dcnrun.ops import DISPATCH
from dcnrun.ops.proof import child
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


def test_it_ends_itself(monkeypatch):
    """Wherever it hangs, and whoever started it is gone."""

    def alarm(seconds):
        raise InterruptedError(seconds)

    monkeypatch.setattr(signal, "alarm", alarm)
    with pytest.raises(InterruptedError, match="12"):
        child.main(["answers", "0", "7"])


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
