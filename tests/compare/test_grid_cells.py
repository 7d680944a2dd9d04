"""Cells of a grid: their order, their folders, and what is in them."""

import sys

import pytest

from dcnrun.compare.grid import build_grid
from dcnrun.compare.grid_cells import grid_cells
from dcnrun.errors import ConfigError, UsageError
from tests.compare.factories import write_run

OVERRIDES = ["conv=standard,dilated", "seed=0,1"]


def test_all_variants_of_a_seed_come_before_the_next_seed(tmp_path):
    cells = grid_cells(build_grid(OVERRIDES), tmp_path)
    assert [cell.title for cell in cells] == [
        *("standard, seed 0", "dilated 4, seed 0"),
        *("standard, seed 1", "dilated 4, seed 1"),
    ]
    assert [cell.path.name for cell in cells][1] == "dilated-4-seed0"
    assert cells[3].overrides[-1] == "seed=1"
    assert cells[0].steps == cells[0].variant.config.trainer.steps


def test_a_cell_is_new_begun_or_completed(tmp_path):
    write_run(tmp_path / "standard-seed0", ["conv=standard"], seed=0)
    write_run(tmp_path / "standard-seed1", ["conv=standard"], seed=1, status="stopped")
    first, dilated, second, _ = grid_cells(build_grid(OVERRIDES), tmp_path)
    assert first.is_begun
    assert first.finished().seed == 0
    assert second.is_begun
    assert second.finished() is None
    assert "--resume" in second.command(None)
    assert not dilated.is_begun
    assert "--resume" not in dilated.command(None)


def test_a_run_of_another_config_in_the_folder_is_an_error(tmp_path):
    write_run(tmp_path / "dilated-4-seed1", ["conv=dilated", "optim.lr=0.5"], seed=1)
    message = r"dilated-4-seed1/config.yaml has optim\.lr=0\.5, but dilated 4, seed 1 needs optim\.lr=0\.001"
    with pytest.raises(UsageError, match=message):
        grid_cells(build_grid(OVERRIDES), tmp_path)


def test_runs_on_several_devices_are_started_by_torchrun(tmp_path):
    one, two = grid_cells(build_grid(["conv=standard", "trainer.devices=1,2", "data.batch_size=4"]), tmp_path)
    assert one.command(None, ["dcnrun"])[:2] == ["dcnrun", "train"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "dcnrun"]
    assert two.command(None, ["dcnrun"])[: len(torchrun) + 1] == [*torchrun, "train"]
    with pytest.raises(ConfigError, match=r"trainer\.nodes=2 needs `dcnrun train` under torchrun on each machine"):
        build_grid(["conv=standard", "trainer.nodes=2", "data.batch_size=4"])
