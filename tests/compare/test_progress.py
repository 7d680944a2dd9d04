"""What a comparison says of the time that it has left; the lines themselves are tested with whole comparisons in test_runner.py."""

import time
from dataclasses import replace
from types import SimpleNamespace

from dcnrun.compare.grid import build_grid
from dcnrun.compare.grid_cells import grid_cells
from dcnrun.compare.progress import GridProgress
from dcnrun.jobs.ledger import Job, State


def test_the_time_left_for_all_follows_what_runs_of_each_variant_took(tmp_path, capsys):
    """Of four runs, two are done, in 10 and in 20 minutes; the third begins."""
    grid = build_grid(["conv=standard,deformable", "seed=0,1", f"runs_dir={tmp_path}"])
    runs = grid_cells(grid, tmp_path / "compared")
    waiting = [Job(number, run.overrides, {}, run.path.name, State.waiting) for number, run in enumerate(runs)]
    now = time.time()
    ended = [
        replace(job, state=State.completed, attempts=1, started=now - 60 * took, ended=now)
        for job, took in zip(waiting[:2], (10, 20), strict=True)
    ]
    third = replace(waiting[2], state=State.running, attempts=1, started=now)
    ledger = SimpleNamespace(jobs=lambda: [*ended, third, waiting[3]])
    GridProgress(grid, runs, tmp_path, ledger).begins(third)
    said = capsys.readouterr().out
    assert said.startswith("[3/4] standard, seed 1: training, ")
    assert "steps, 30 min 0 s left for all" in said or "29 min 59 s" in said

    ledger.jobs = lambda: waiting
    GridProgress(grid, runs, tmp_path, ledger).begins(waiting[0])
    assert "left" not in capsys.readouterr().out
