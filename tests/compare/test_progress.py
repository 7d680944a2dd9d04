"""What a comparison says of the time that it has left; the lines themselves are tested with whole comparisons in test_runner.py."""

import time
from dataclasses import replace
from types import SimpleNamespace

from dcnrun.compare.grid import build_grid
from dcnrun.compare.grid_cells import grid_cells
from dcnrun.compare.progress import GridProgress
from dcnrun.jobs.ledger import Job, State
from tests.compare.factories import write_run


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


def test_a_run_that_was_found_completed_says_nothing_of_how_long_others_take(tmp_path, capsys):
    """The ledger has the moment that it took to find it, and the run that it trained for a minute."""
    overrides = ["conv=standard,deformable", f"runs_dir={tmp_path}"]
    grid = build_grid(overrides)
    found, new = runs = grid_cells(grid, tmp_path / "compared")
    write_run(found.path, list(found.overrides))
    first, second = (Job(number, run.overrides, {}, run.path.name, State.waiting) for number, run in enumerate(runs))
    now = time.time()
    first = replace(first, state=State.completed, attempts=1, started=now - 0.02, ended=now)
    second = replace(second, state=State.running, attempts=1, started=now)
    GridProgress(grid, runs, tmp_path, SimpleNamespace(jobs=lambda: [first, second])).begins(second)
    said = capsys.readouterr().out
    assert f"{new.title}: training, " in said
    assert "left" not in said
