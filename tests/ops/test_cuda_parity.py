"""What `make parity` keeps: with cases that need no GPU."""

import json
import math

import pytest

from benchmarks.cuda_parity import Check, convolutions, roi_poolings, run, samplings


@pytest.fixture
def file(tmp_path):
    return tmp_path / "parity.json"


def fine(seed, device):
    return {"output": 1e-7, "input": 0.0}


def refuse(seed, device):
    raise RuntimeError("an illegal memory access\nwas encountered")


def read(file):
    return json.loads(file.read_text("utf-8"))


def test_every_case_is_kept_as_it_is_measured(file):
    """So a run that is killed leaves what it found."""
    found = []

    def look(seed, device):
        found.append(read(file.with_suffix(".part")))
        assert not file.exists()
        return fine(seed, device)

    checks = {"one": [Check("a", fine, 1e-5), Check("b", look, 1e-5)], "other": [Check("c", look, 1e-5)]}
    assert run(checks, {"gpu": "none"}, file)
    assert [[row["case"] for row in rows["one"]["cases"]] for rows in found] == [["a"], ["a", "b"]]
    kept = read(file)
    assert (kept["machine"], kept["one"]["passed"], kept["other"]["passed"]) == ({"gpu": "none"}, True, True)
    assert kept["one"]["cases"][0]["errors"] == fine(0, "cuda")
    assert not file.with_suffix(".part").exists()


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        (refuse, {"problem": "RuntimeError: an illegal memory access"}),
        (lambda seed, device: {"output": math.inf, "input": 0.0}, {"errors": {"output": None, "input": 0.0}}),
        (lambda seed, device: {"output": 2e-5}, {"errors": {"output": 2e-5}}),
    ],
)
def test_a_case_that_fails(file, errors, told):
    """Those after it are measured all the same."""
    assert not run(
        {"one": [Check("a", errors, 1e-5), Check("b", fine, 1e-5)], "other": [Check("c", fine, 1)]}, {}, file
    )
    kept = read(file)
    first, second = kept["one"]["cases"]
    assert first == {"case": "a", "seed": first["seed"], "tolerance": 1e-5, "passed": False} | told
    assert second["passed"]
    assert [kept[operator]["passed"] for operator in ("one", "other")] == [False, True]


def test_a_part_of_the_cases(file):
    """An operator has passed when all of its cases have."""
    checks = {"one": [Check("big, float32", refuse, 1)], "other": [Check(f"RoIs, {i}", fine, 1) for i in range(3)]}
    assert run(checks, {}, file, only="RoIs")
    kept = read(file)
    assert kept["one"] == {"passed": False, "cases": []}
    assert (kept["other"]["passed"], len(kept["other"]["cases"])) == (True, 3)
    assert run(checks, {}, file, only="RoIs, 1")
    assert [(row["case"], row["passed"]) for row in read(file)["other"]["cases"]] == [("RoIs, 1", True)]
    assert not read(file)["other"]["passed"]


def test_names_are_unique_and_tell_the_operators_apart():
    ours, rois, samples = convolutions(), roi_poolings(), samplings()
    names = [check.name for check in (*ours, *rois, *samples)]
    assert len(set(names)) == len(names)
    for part, those in (("RoI pooling", rois), ("sampling", samples)):
        assert {check.name for check in those} == {name for name in names if part in name}
    assert {check.tolerance for check in ours if check.tf32} == {1e-3}
