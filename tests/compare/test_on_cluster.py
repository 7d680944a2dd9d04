"""A comparison whose runs a cluster trains, with one agent in this process. Real clusters are in tests/sweep/engines/test_ray.py."""

import contextlib

import pytest

# ruff: noqa: E402 (what needs Ray is imported where it is there)
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'dcnrun[ray]'")

from dcnrun.compare import on_cluster, report
from dcnrun.compare.runner import run_grid
from dcnrun.errors import UsageError
from dcnrun.jobs.cluster import nodes
from dcnrun.jobs.cluster.options import ClusterOptions, Resources, Runs
from tests.compare.factories import Trainer
from tests.jobs.cluster.fakes import run_here


@pytest.fixture
def batches(monkeypatch):
    """The batches that were run, by one agent in this process."""
    ran = []

    def run(batch, options, look):
        assert (look().underway, look().to_come) == (4, 0)
        run_here(batch, options, look)
        assert look().underway == 0
        ran.append(batch)

    monkeypatch.setattr(on_cluster, "run_on_cluster", run)
    monkeypatch.setattr(on_cluster, "has_gpus", lambda: False)
    monkeypatch.setattr(nodes, "connected", lambda address: contextlib.nullcontext(True))
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    monkeypatch.setattr(report, "save_png", lambda figure, path: path.touch())
    return ran


@pytest.mark.parametrize("runs", [Runs.shared, Runs.copied])
def test_it_compares_what_a_cluster_trained(batches, tmp_path, capsys, runs):
    overrides = ["conv=standard,dilated", "trainer.threads=2", "seed=0,1", f"runs_dir={tmp_path / 'runs'}"]
    trainer = Trainer(tmp_path / "templates", overrides)
    trainer.does("dilated-4-seed1", "crash")
    given = ClusterOptions(runs=runs)
    result = run_grid(overrides, tmp_path / "out", cluster=given, program=trainer.program)
    assert [variant["seeds"] for variant in result["variants"]] == [[0, 1], [0]]
    assert [run["reason"] for run in result["failed"]] == ["exit status 3: acting: crash ValueError: no such luck"]
    (batch,) = batches
    assert (batch.resources, batch.paths, batch.is_alone) == (Resources(2.0), {}, True)
    assert batch.work.environment == {"WANDB_RUN_GROUP": "out"}
    at = {call[call.index("--run-dir") + 1].startswith(str(tmp_path / "out")) for call in trainer.calls()}
    assert at == {runs is Runs.shared}
    assert (tmp_path / "out" / "standard-seed0" / "summary.json").exists()
    assert "[1/4] standard, seed 0: val/miou " in capsys.readouterr().out


def test_it_is_started_on_the_head_node(tmp_path, monkeypatch):
    monkeypatch.setattr(nodes, "connected", lambda address: contextlib.nullcontext(False))
    with pytest.raises(UsageError, match=r"ray job submit -- dcnrun compare"):
        run_grid(["conv=standard", f"runs_dir={tmp_path}"], cluster=ClusterOptions("ray://head:10001"))
