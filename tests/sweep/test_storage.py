import os
from pathlib import Path

import psutil
import pytest

from dcnrun.errors import RunError, UsageError
from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import JobSpec
from dcnrun.sweep.engines.engine import Sampler
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.spec.reading import parse_sweep
from dcnrun.sweep.storage import create_ledger, occupy, open_ledger, slug

TEXT = "method: random\nparameters: {optim.lr: {min: 0.1, max: 0.2}}\n"


def plan(text=TEXT, overrides=(), seed=0, sampler=Sampler.tpe):
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
    [plan(TEXT.replace("0.2", "0.3")), plan(overrides=("seed=1",)), plan(seed=1), plan(sampler=Sampler.gp)],
    ids=["file", "overrides", "seed", "search"],
)
def test_a_folder_with_trials_is_one_sweeps(other):
    begun(Path("out"))
    occupy(Path("out"), plan())
    with pytest.raises(UsageError, match="out holds another sweep"):
        occupy(Path("out"), other)
    for storage in (None, sqlite_url(Path("elsewhere.db"))):
        with pytest.raises(UsageError, match="out holds another sweep"):
            create_ledger(other, "lr", Path("out"), storage, cap=3)
    assert open_ledger("out", None)[0].text == plan().as_text()
    assert Path("out/sweep.yaml").read_text() == TEXT
    assert not Path("elsewhere.db").exists()


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_what_tells_which_sweep_it_is_is_not_waited_for():
    begun(Path("out"))
    Path("out/sweep.json").unlink()
    os.mkfifo("out/sweep.json")
    with pytest.raises(UsageError, match=r"^out/sweep\.json can't be read: it is no file"):
        occupy(Path("out"), plan())


def begun(folder):
    """A sweep with a trial."""
    ledger = create_ledger(plan(), "lr", folder, None, cap=3)
    ledger.add([JobSpec(("optim.lr=0.1",), {"optim.lr": 0.1}, "trial-0000")])
    (folder / "trial-0000").mkdir()
    return ledger


def test_a_larger_run_cap_and_a_comment_are_no_other_sweep():
    begun(Path("out"))
    edited = f"# more of them\n{TEXT}run_cap: 7\ndescription: at night\n"
    ledger = create_ledger(plan(edited), "lr", Path("out"), None, cap=7)
    assert (len(ledger.jobs()), ledger.cap) == (1, 7)
    assert Path("out/sweep.yaml").read_text() == edited


@pytest.mark.parametrize("storage", ["mysql://a:b@c/d", "sqlite:////proc/none/ledger.db", "sqlite:///bad.db"])
def test_a_start_that_is_refused_leaves_nothing(storage):
    Path("bad.db").write_text("not a database, but long enough to be taken for one " * 100)
    with pytest.raises((UsageError, RunError)):
        create_ledger(plan(), "lr", Path("out"), storage, cap=3)
    assert not Path("out").exists()


@pytest.mark.parametrize("stored", [False, True])
def test_a_sweep_without_trials_gives_way_to_the_file_as_it_was_mended(stored):
    storage = sqlite_url(Path("elsewhere.db")) if stored else None
    create_ledger(plan(), "lr", Path("out"), storage, cap=3)
    mended = plan(TEXT.replace("0.2", "0.3"))
    assert create_ledger(mended, "lr", Path("out"), storage, cap=3).text == mended.as_text()
    assert Path("out/sweep.json").read_text() == mended.as_text()
    assert Path("out/sweep.yaml").read_text() == mended.sweep.text


def test_trials_whose_ledger_is_gone_are_not_resumed():
    begun(Path("out"))
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
        ledger, _, found = open_ledger(sweep, None)
        assert ledger.text == plan().as_text()
        assert found.resolve() == folder.resolve()
    folder.rename("runs/sweeps/kept")
    assert open_ledger("kept", None)[0].cap == 3
    with pytest.raises(UsageError, match=r"There is no sweep lr: .*there are kept"):
        open_ledger("lr", None)


def test_in_a_database_a_sweep_goes_by_its_name(postgres):
    storage = postgres.new_database()
    create_ledger(plan(), "lr", Path("out"), storage, cap=3).add([JobSpec((), {}, "trial-0000")])
    assert open_ledger("lr", storage)[2] == Path("out")
    assert open_ledger("lr", storage, Path("scratch"))[2] == Path("scratch")
    with pytest.raises(UsageError, match="there are lr"):
        open_ledger("other", storage)
    with pytest.raises(UsageError, match="a sweep named lr"):
        create_ledger(plan(seed=1), "lr", Path("elsewhere"), storage, cap=3)


def test_a_folder_that_cannot_be_made_is_a_usage_error():
    Path("file").touch()
    with pytest.raises(UsageError, match="can't be used"):
        occupy(Path("file/out"), plan())


def test_what_a_killed_process_left_half_written_is_deleted(monkeypatch):
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: pid == 77)
    left = [
        Path("out", *name.split("/")) for name in (".report.md.12.part", "figures/.a.png.12.part", "repeats/.b.12.part")
    ]
    kept = [Path("out", name) for name in (".sweep.json.77.part", "a.12.part", ".b.part")]
    for file in (*left, *kept):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    occupy(Path("out"), plan())
    assert not [file for file in left if file.exists()]
    assert [file for file in kept if file.exists()] == kept
