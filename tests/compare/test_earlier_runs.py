"""Runs that need not be trained again are found by their configs."""

import os
from pathlib import Path

import pytest

from dcnrun.compare.earlier_runs import GRID_FILE, find_completed, settings_of_run
from dcnrun.compare.grid import build_grid
from dcnrun.compare.grid_cells import grid_cells
from dcnrun.compare.variants import digest
from dcnrun.config.compose import compose
from dcnrun.config.paths import paths_to_keep
from dcnrun.runs import write_json
from tests.compare.factories import write_run
from tests.data.factories import folder_tree

OVERRIDES = ["conv=standard,dilated", "seed=0,1"]


def test_completed_runs_of_the_same_config_are_taken_from_elsewhere(tmp_path):
    runs_dir, folder = tmp_path / "runs", tmp_path / "new" / "comparison"
    write_run(runs_dir / "20250101-standard", ["conv=standard", "name=other", "logger.csv=true"], seed=0)
    write_run(runs_dir / "sweeps" / "lr" / "trial-0000", ["conv=dilated"], seed=1)
    write_run(tmp_path / "new" / "before" / "dilated", ["conv=dilated"], seed=0)
    (tmp_path / "new" / "before" / GRID_FILE).touch()
    write_run(runs_dir / "not-completed", ["conv=standard"], seed=1, status="stopped")
    write_run(runs_dir / "of-another-rate", ["conv=standard", "optim.lr=0.5"], seed=1)
    (write_run(runs_dir / "damaged", ["conv=standard"], seed=1) / "config.yaml").write_text("conv: [")
    write_run(runs_dir / "without-a-score", ["conv=standard"], seed=1, metrics={"val/miou": None})
    cells = grid_cells(build_grid([*OVERRIDES, f"runs_dir={runs_dir}"]), folder)
    assert [cell.path for cell in cells] == [
        runs_dir / "20250101-standard",
        tmp_path / "new" / "before" / "dilated",
        folder / "standard-seed1",
        runs_dir / "sweeps" / "lr" / "trial-0000",
    ]
    assert [cell.is_elsewhere for cell in cells] == [True, True, False, True]
    write_run(folder / "standard-seed0", ["conv=standard"], seed=0, status="stopped")
    assert not grid_cells(build_grid([*OVERRIDES, f"runs_dir={runs_dir}"]), folder)[0].is_elsewhere


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_the_list_of_comparisons_is_not_waited_for(tmp_path):
    (tmp_path / "runs").mkdir()
    os.mkfifo(tmp_path / "runs" / "comparisons.txt")
    assert find_completed(["a"], tmp_path / "runs", tmp_path / "comparison") == {}


def test_folders_that_may_not_be_read_are_passed_over(tmp_path, monkeypatch):
    """As those of other users in a folder that is shared; and a damaged list of comparisons."""
    run = write_run(tmp_path / "runs" / "own", ["conv=standard"])
    (tmp_path / "runs" / "private").mkdir()
    (tmp_path / "runs" / "comparisons.txt").write_text(f"{'long' * 100}\n{tmp_path / 'private'}\n")
    is_file = Path.is_file

    def refused(path):
        if path.parent.name == "private":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)
    key = digest(settings_of_run(run))
    assert find_completed([key, "another"], tmp_path / "runs", tmp_path / "comparison") == {key: run}


def test_a_run_of_other_data_is_none_of_the_same_config(tmp_path, monkeypatch):
    """A relative path is where it led when the run began."""
    for place in ("a", "b"):
        folder_tree(tmp_path / place / "data")
    own = ["conv=standard", "data=folder", "data.root=data", "data.classes=[sky,road]", f"runs_dir={tmp_path}/runs"]
    monkeypatch.chdir(tmp_path / "a")
    run = write_run(tmp_path / "runs" / "earlier", [*own, "data.ignore_label=255"], seed=0)  # as the masks have it
    config = compose(own)
    write_json(run / "paths.json", paths_to_keep(config, config, run))
    (tmp_path / "a" / "inner").mkdir()
    for place, root, is_found in (("a", "data", True), ("a/inner", "../data", True), ("b", "data", False)):
        monkeypatch.chdir(tmp_path / place)
        root = (Path.cwd() / root).resolve() if ".." in root else root
        (cell,) = grid_cells(build_grid([*own, f"data.root={root}", "seed=0"]), tmp_path / "new" / "comparison")
        assert cell.is_elsewhere == is_found, place
