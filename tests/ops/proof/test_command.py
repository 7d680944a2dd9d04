"""`dcnrun kernels prove`, with GPUs and proofs that are made up."""

import json

import pytest

from dcnrun.errors import ProblemsError, UsageError
from dcnrun.ops.proof import command
from dcnrun.ops.proof.command import prove_kernels, read_proofs
from dcnrun.ops.proof.verdict import FORMAT, Kind

OPERATORS = ["deform_conv2d", "deform_roi_pool", "deform_sample2d"]


def row(ours, torchvision, pass_="forward"):
    return {"pass": pass_, "channels": 64, "pixels": 4096, "ours": ours, "torchvision": torchvision}


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Three GPUs of two kinds; what their proofs find can be changed."""
    names = ["GPU [one]", "GPU two", "GPU [one]"]
    found = {
        "float32": {
            "right": True,
            "why_not": "",
            "wrong": [],
            "times": [row(0.001, 0.0025), row(0.004, 0.002, "backward")],
        }
    }
    failure = {"of": ""}

    def prove_now(kind, index):
        operator = kind.operator
        dtypes = found if operator == "deform_conv2d" else {}
        report = {"format": FORMAT, "operator": operator, "kind": dict(kind.facts), "problems": 16, "made": "today"}
        return report | {"dtypes": dtypes, "failure": failure["of"]}, tmp_path / f"{operator}.json"

    monkeypatch.setattr(command, "gpus", lambda: range(3))
    monkeypatch.setattr(
        command, "kind_of", lambda operator, index: Kind(operator, {"gpu": names[index], "architecture": "sm_90"})
    )
    monkeypatch.setattr(command, "prove_now", prove_now)
    return found, failure


def test_every_operator_on_every_kind_of_gpu(machine, tmp_path, capsys):
    proofs = prove_kernels(tmp_path / "out.json")
    shown = [(report["operator"], report["kind"]["gpu"]) for report in proofs["proofs"]]
    assert shown == [(operator, gpu) for operator in OPERATORS for gpu in ("GPU [one]", "GPU two")]
    assert json.loads((tmp_path / "out.json").read_text()) == proofs
    text = capsys.readouterr().out
    assert "deform_conv2d on GPU [one] (sm_90)" in text
    assert "float32: right on 16 problems" in text
    assert [line.split()[-1] for line in text.splitlines() if "4096" in line] == ["ours", "torchvision"] * 2


def test_against_another_machine(machine, tmp_path, capsys):
    found, _ = machine
    prove_kernels(tmp_path / "out.json")
    found["float32"]["times"] = [row(0.0077, 0.0088)]
    capsys.readouterr()
    prove_kernels(against=tmp_path / "out.json")
    (first, _) = [line for line in capsys.readouterr().out.splitlines() if "4096" in line]
    assert first.split() == ["forward", "64", "x", "4096", "7.7", "8.8", "ours", "1", "2.5"]


def test_what_is_wrong_ends_with_an_error_and_the_report(machine, capsys):
    found, _ = machine
    wrong = {"problem": "1x1", "by": "torchvision", "differs": {}}
    found["float16"] = {"right": False, "why_not": "3x3: output 1 of 9 wrong", "wrong": [wrong], "times": []}
    with pytest.raises(ProblemsError, match="Not all kernels of deform_conv2d are right") as raised:
        prove_kernels()
    assert len(raised.value.report["proofs"]) == 6
    text = capsys.readouterr().out
    assert "float16: 3x3: output 1 of 9 wrong" in text
    assert "torchvision is wrong on: 1x1" in text


def test_a_proof_that_failed(machine, capsys):
    machine[1]["of"] = "the proof crashed (Segmentation fault)"
    with pytest.raises(ProblemsError, match="deform_conv2d, deform_roi_pool, deform_sample2d"):
        prove_kernels()
    assert "the proof crashed" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"proofs": [{}]}', '{"proofs": 3}', '"proofs"', "[" * 100_000])
def test_a_file_that_is_no_result(machine, content, tmp_path):
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(UsageError, match=r"other.json is no result of `dcnrun kernels prove --out FILE`"):
        prove_kernels(against=file)


def test_a_file_that_is_not_there(machine, tmp_path):
    with pytest.raises(UsageError, match=r"nothing.json can't be read: No such file"):
        prove_kernels(against=tmp_path / "nothing.json")


def test_a_verdict_is_such_a_file_too(machine, tmp_path):
    report = prove_kernels()["proofs"][0]
    file = tmp_path / "verdict.json"
    file.write_text(json.dumps(report))
    assert read_proofs(file) == [report]


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(command, "gpus", lambda: range(0))
    with pytest.raises(UsageError, match="PyTorch finds no NVIDIA GPU here"):
        prove_kernels()
