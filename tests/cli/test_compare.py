from pathlib import Path

from tests.cli.fakes import run


def test_compare_trains_a_grid_or_takes_finished_runs(replaced, tmp_path):
    grids = replaced("dcnrun.compare.runner", "run_grid")
    overrides = ["conv=standard,dilated", "seed=0,1"]
    assert run("compare", *overrides, "--dry-run", "--out", str(tmp_path)).exit_code == 0
    assert run("compare", *overrides, "--storage", "sqlite:///a.db").exit_code == 0
    assert run("compare", *overrides, "--agents", "2").exit_code == 0
    assert run("compare", *overrides, "--gpus", "0,1").exit_code == 0
    assert grids == [
        (overrides, tmp_path, None, True, None, 1, ()),
        (overrides, None, None, False, "sqlite:///a.db", 1, ()),
        (overrides, None, None, False, None, 2, ()),
        (overrides, None, None, False, None, 1, ("0", "1")),
    ]
    assert run("compare", *overrides, "--gpus", "0,1", "--agents", "2").exit_code == 2
    finished = replaced("dcnrun.compare.compare_runs", "compare_runs")
    assert run("compare", "runs/a", "runs/b").exit_code == 0
    (tmp_path / "lr=0.1").mkdir()
    assert run("compare", "runs/a", str(tmp_path / "lr=0.1")).exit_code == 0
    assert finished == [([Path("runs/a"), Path("runs/b")], None), ([Path("runs/a"), tmp_path / "lr=0.1"], None)]
