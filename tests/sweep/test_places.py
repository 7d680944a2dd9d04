from pathlib import Path

import pytest

from dcnrun.errors import UsageError
from dcnrun.jobs.ledger import Drawn
from dcnrun.sweep.places import create_ledger, occupy, open_ledger, slug
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.spec.reading import parse_sweep

TEXT = "method: random\nparameters: {optim.lr: {min: 0.1, max: 0.2}}\n"


def plan(text=TEXT, overrides=(), seed=0, sampler="tpe"):
    return Plan(parse_sweep(text, Path("lr.yaml")), overrides, seed, sampler)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("lr", "lr"),
        ("Offset LR: first try!", "Offset-LR-first-try"),
        ("../up", "up"),
        ("a/b", "a-b"),
        ("v1.5_x", "v1.5_x"),
    ],
)
def test_a_name_becomes_one_folder(name, folder):
    assert slug(name) == folder
    assert Path("x", slug(name)).resolve().parent == Path("x").resolve()


@pytest.mark.parametrize("name", ["", "..", "///", "ü"])
def test_a_name_without_anything_for_a_folder_is_an_error(name):
    with pytest.raises(UsageError, match="--name"):
        slug(name)


@pytest.mark.parametrize(
    "other",
    [plan(TEXT + "run_cap: 3\n"), plan(overrides=("seed=1",)), plan(seed=1), plan(sampler="gp")],
    ids=["file", "overrides", "seed", "search"],
)
def test_a_folder_is_one_sweeps(other):
    occupy(Path("out"), plan())
    occupy(Path("out"), plan())
    with pytest.raises(UsageError, match="out holds another sweep"):
        occupy(Path("out"), other)
    assert Path("out/sweep.yaml").read_text() == TEXT


def test_trials_whose_ledger_is_gone_are_not_gone_on_with():
    ledger = create_ledger(plan(), "lr", Path("out"), None, cap=3)
    ledger.add([Drawn(("optim.lr=0.1",), {"optim.lr": 0.1}, "trial-0000")])
    Path("out/trial-0000").mkdir()
    create_ledger(plan(), "lr", Path("out"), None, cap=3)
    Path("out/ledger.db").unlink()
    with pytest.raises(UsageError, match="ledger is gone"):
        create_ledger(plan(), "lr", Path("out"), None, cap=3)


def test_the_last_cap_that_was_asked_for_holds():
    assert create_ledger(plan(), "lr", Path("out"), None, cap=3).cap == 3
    assert create_ledger(plan(), "lr", Path("out"), None, cap=7).cap == 7
    assert create_ledger(plan(), "lr", Path("out"), None, cap=None).cap is None


def test_a_sweep_is_found_by_its_folder_or_its_name_even_when_renamed():
    folder = Path("runs/sweeps/lr")
    create_ledger(plan(), "lr", folder, None, cap=3)
    for sweep in ("lr", "runs/sweeps/lr", str(folder.absolute())):
        ledger, found = open_ledger(sweep, None)
        assert ledger.text == plan().as_text()
        assert found.resolve() == folder.resolve()
    folder.rename("runs/sweeps/kept")
    assert open_ledger("kept", None)[0].cap == 3
    with pytest.raises(UsageError, match=r"There is no sweep lr: .*there are kept"):
        open_ledger("lr", None)


def test_in_a_database_a_sweep_goes_by_its_name(postgres):
    storage = postgres.new_database()
    create_ledger(plan(), "lr", Path("out"), storage, cap=3)
    assert open_ledger("lr", storage)[1] == Path("out")
    assert open_ledger("lr", storage, Path("scratch"))[1] == Path("scratch")
    with pytest.raises(UsageError, match="there are lr"):
        open_ledger("other", storage)
    with pytest.raises(UsageError, match="a sweep named lr"):
        create_ledger(plan(seed=1), "lr", Path("elsewhere"), storage, cap=3)


def test_a_folder_that_cannot_be_made_is_a_usage_error():
    Path("file").touch()
    with pytest.raises(UsageError, match="can't be used"):
        occupy(Path("file/out"), plan())
