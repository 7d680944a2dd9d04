"""The Ray engine: with one agent in this process, and on a real cluster whose nodes and command are killed."""

import contextlib
import multiprocessing

import pytest

# ruff: noqa: E402 (what needs Ray is imported where it is there)
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'dcnrun[ray]'")

from dcnrun.errors import UsageError
from dcnrun.jobs.cluster.options import ClusterOptions, Resources, Runs
from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import Ledger, State
from dcnrun.sweep.engines import ray as engine
from dcnrun.sweep.engines.engine import Engine, Options, engine_for
from dcnrun.sweep.engines.ray import RayEngine
from tests.jobs.cluster.fakes import run_here
from tests.jobs.factories import wait_until
from tests.ray_cluster import ray_cluster
from tests.sweep.engines.factories import QuickRayEngine


@pytest.fixture
def here(monkeypatch):
    """No cluster, but one agent in this process; what was asked of the cluster is kept."""
    asked = []

    def run(batch, options, look):
        asked.append((batch, options))
        run_here(batch, options, look)

    monkeypatch.setattr(engine, "run_on_cluster", run)
    monkeypatch.setattr(engine, "connected", lambda address: contextlib.nullcontext(True))
    monkeypatch.setattr(engine, "has_gpus", lambda: True)
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    return asked


def test_it_finds_what_the_local_engine_finds(sweeps, here, tmp_path):
    rule = {"type": "hyperband", "min_iter": 2, "eta": 3}
    sweeps.write(method="bayes", early_terminate=rule, run_cap=6)
    sweeps.pause(0.2)
    there = QuickRayEngine().run(sweeps.file, [], sweeps.options())
    local = tmp_path / "local"
    local.mkdir()
    sweeps.out, there_out = local, sweeps.out
    sweeps.pause(0.2)
    result = sweeps.run_here()
    for trials in (there["trials"], result["trials"]):
        assert [trial["number"] for trial in trials] == list(range(6))
        assert {trial["state"] for trial in trials} <= {"completed", "stopped"}
    assert [trial["parameters"] for trial in there["trials"]][:3] == [
        trial["parameters"] for trial in result["trials"]
    ][:3]
    assert (there_out / "report.md").exists()
    assert RayEngine().show_status(str(there_out), Options())["states"] == there["states"]


@pytest.mark.parametrize(
    ("overrides", "needs"),
    [
        ([], Resources(1.0, 1.0)),
        (["trainer.devices=2", "trainer.threads=4"], Resources(8.0, 2.0)),
        (["trainer.accelerator=cpu", "trainer.threads=4"], Resources(4.0, 0.0)),
    ],
)
def test_a_trial_needs_what_its_settings_say(sweeps, here, monkeypatch, overrides, needs):
    monkeypatch.setattr(engine, "run_on_cluster", lambda batch, options, look: here.append(batch))
    plan = QuickRayEngine().plan(sweeps.write(), [*overrides, "data=folder", "data.root=somewhere"], Options())
    QuickRayEngine().agents(plan, sweeps.options(cluster=ClusterOptions(runs=Runs.copied)))(
        Ledger.create(sqlite_url(sweeps.out / "x.db"), "x", "sweep", "", "", None), sweeps.out, lambda: None
    )
    (batch,) = here
    assert batch.resources == needs
    assert list(batch.paths.values()) == ["data.root"]
    assert batch.work.is_copied
    assert batch.is_alone


def test_the_best_settings_are_repeated_on_the_cluster_too(sweeps, here):
    sweeps.write_grid(0.01, 0.1)
    batches = []
    with pytest.raises(Exception, match=r"."):  # fake trials leave nothing to compare
        QuickRayEngine().run(sweeps.file, [], sweeps.options(repeats=2, top=1))
    batches = [(batch.work.folder, batch.open_jobs()) for batch, _ in here]
    assert [folder for folder, _ in batches] == [sweeps.out, sweeps.out / "repeats"]
    (_, trials), (_, repeats) = batches
    assert trials[1] is not None
    assert repeats[1:] == (None, None, None)
    assert [job.state for job in repeats[0].jobs()] == [State.completed] * 2


def test_from_elsewhere_the_command_is_sent_to_the_head_node(sweeps, here, monkeypatch, tmp_path):
    sent = []

    def run_there(call):
        sent.append(call)
        monkeypatch.setattr(engine, "connected", lambda address: contextlib.nullcontext(True))
        return call()

    monkeypatch.setattr(engine, "connected", lambda address: contextlib.nullcontext(False))
    monkeypatch.setattr(engine, "run_on_head", run_there)
    sweeps.write_grid(0.01, 0.1)
    result = QuickRayEngine().run(sweeps.file, [], sweeps.options())
    assert [trial["state"] for trial in result["trials"]] == ["completed"] * 2
    assert (sweeps.out / "sweep.yaml").read_text() == sweeps.file.read_text()
    assert result["sweep"] == "lr"
    monkeypatch.setattr(engine, "connected", lambda address: contextlib.nullcontext(False))
    with pytest.raises(UsageError, match="There is no sweep"):
        QuickRayEngine().show_status(str(tmp_path / "nowhere"), Options())
    assert len(sent) == 2


def test_without_ray_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setattr("dcnrun.jobs.cluster.options.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'dcnrun\[ray\]'"):
        engine_for(Engine.ray)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # whatever token there is in somebody's home
    with ray_cluster(tmp_path) as started:
        yield started


def drive(sweeps, address):
    """The command, on this cluster."""
    options = sweeps.options(cluster=ClusterOptions(address, Resources(1.0, 1.0)))
    QuickRayEngine().run(sweeps.file, ["trainer.steps=6"], options)


@pytest.mark.slow
def test_nodes_and_the_command_are_killed_and_each_trial_is_done_once(sweeps, cluster):
    """A node killed with its trial, another that joins, and the command killed: the same command ends the sweep."""

    def start():
        process = multiprocessing.get_context("fork").Process(target=drive, args=(sweeps, cluster.address))
        process.start()
        return process

    def jobs():
        with contextlib.suppress(UsageError):  # there is no ledger yet
            return Ledger.open(sqlite_url(sweeps.out / "ledger.db"), "sweep").jobs()
        return []

    def are_at_work(number):
        return sum(job.state is State.running and bool(job.history) for job in jobs()) >= number

    cap = 5
    sweeps.write(run_cap=cap)
    sweeps.pause(3)  # trials take longer than a node to join
    cluster.add()
    first = start()
    wait_until(lambda: are_at_work(2), 120)
    cluster.kill()
    wait_until(lambda: any(job.attempts == 2 for job in jobs()), 120)
    cluster.add()
    wait_until(lambda: are_at_work(2), 120)
    done = [job for job in jobs() if job.state is State.completed]
    first.kill()
    first.join()
    sweeps.pause(0.05)
    last = start()
    last.join(240)
    assert last.exitcode == 0
    assert [(job.number, job.state) for job in jobs()] == [(number, State.completed) for number in range(cap)]
    assert [jobs()[job.number] for job in done] == done, "a finished trial was run again"
    assert all([step for step, _ in job.history] == [1, 2, 3, 4, 5, 6] for job in jobs())
    assert sorted(job.attempts for job in jobs()) == [1] * (cap - 1) + [2], "the command's end is no trial's fault"
    starts = [start.split() for number in range(cap) for start in sweeps.starts(number)]
    assert sum(option == "--resume" for option, _, _ in starts) >= 3
    assert {(storage, gpu) for _, storage, gpu in starts} == {("False", "0")}
