from pathlib import Path

from dcnrun.jobs.cluster.options import ClusterOptions, Resources, Runs
from tests.cli.fakes import run


def test_compare_trains_a_grid_or_takes_finished_runs(replaced, tmp_path):
    grids = replaced("dcnrun.compare.runner", "run_grid")
    overrides = ["conv=standard,dilated", "seed=0,1"]
    assert run("compare", *overrides, "--dry-run", "--out", str(tmp_path)).exit_code == 0
    assert run("compare", *overrides, "--storage", "sqlite:///a.db").exit_code == 0
    assert run("compare", *overrides, "--agents", "2").exit_code == 0
    assert run("compare", *overrides, "--gpus", "0,1").exit_code == 0
    on_ray = ["--engine", "ray", "--address", "head:6379", "--per-trial", "CPU=4", "--runs", "copied", "--agents", "3"]
    assert run("compare", *overrides, *on_ray).exit_code == 0
    assert grids == [
        (overrides, tmp_path, None, True, None, 1, (), 6, None),
        (overrides, None, None, False, "sqlite:///a.db", 1, (), 6, None),
        (overrides, None, None, False, None, 2, (), 6, None),
        (overrides, None, None, False, None, 1, ("0", "1"), 6, None),
        (overrides, None, None, False, None, 3, (), 6, ClusterOptions("head:6379", Resources(4.0), Runs.copied, 3)),
    ]
    assert run("compare", *overrides, "--gpus", "0,1", "--agents", "2").exit_code == 2
    finished = replaced("dcnrun.compare.compare_runs", "compare_runs")
    assert run("compare", "runs/a", "runs/b").exit_code == 0
    (tmp_path / "lr=0.1").mkdir()
    assert run("compare", "runs/a", str(tmp_path / "lr=0.1")).exit_code == 0
    assert finished == [([Path("runs/a"), Path("runs/b")], None, 6), ([Path("runs/a"), tmp_path / "lr=0.1"], None, 6)]
    for option in (["--agents", "2"], ["--address", "head:6379"], ["--engine", "ray"]):
        refused = run("compare", "runs/a", "runs/b", *option)
        assert refused.exit_code == 2
        assert "Folders of finished runs are compared as they are" in refused.stderr
