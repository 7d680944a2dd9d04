import json
import random
import time
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from dcnrun.errors import UsageError
from dcnrun.jobs.ledger import Job, State
from dcnrun.sweep import status
from dcnrun.sweep.engines.engine import Options
from dcnrun.sweep.spec.reading import parse_sweep
from dcnrun.sweep.spec.sweep_file import Goal, Metric
from dcnrun.sweep.status import Progress, as_json, extent, summary, table, watching
from tests.sweep.factories import QuickEngine

METRIC = Metric("val/miou", Goal.maximize, target=0.9)


def job(number, *values, state=State.completed, reason=None, attempts=1, band=None, owner="node7:12:99:kernel"):
    return Job(
        number=number, overrides=("a=b",), parameters={"optim.lr": 0.123456, "conv.groups": number},
        folder=f"trial-{number:04d}", state=state, attempts=attempts, owner=owner,
        history=tuple(enumerate(values, 1)), reason=reason, band=band, started=0.0, ended=None, beat=0.0,
    )  # fmt: skip


def progress(tmp_path, *jobs, metric=METRIC, cap=None, settings=None):
    return Progress("lr", tmp_path, metric, cap, jobs, settings=settings)


def printed(renderable):
    console = Console(width=160, record=True, file=StringIO())
    console.print(renderable)
    return console.export_text()


def test_the_best_is_the_best_report_of_a_trial_that_has_ended(tmp_path):
    jobs = [
        job(0, 0.5, 0.3),
        job(1, 0.4, state=State.stopped),
        job(2, 0.8, state=State.failed),
        job(3, 0.7, state=State.running),
    ]
    assert progress(tmp_path, *jobs).best.number == 0
    assert [each.number for each in progress(tmp_path, *jobs).ranked()] == [3, 0, 1]
    down = progress(tmp_path, *jobs, metric=Metric("train/loss"))
    assert down.best.number == 0
    assert down.value(jobs[0]) == 0.3
    assert progress(tmp_path).best is None


def test_a_sweep_is_over_when_all_have_ended_and_no_more_may_come(tmp_path):
    assert not progress(tmp_path, cap=1).is_over
    assert progress(tmp_path, job(0, 0.1), cap=1).is_over
    assert not progress(tmp_path, job(0, 0.1)).is_over
    assert not progress(tmp_path, job(0, 0.1, state=State.waiting), cap=1).is_over
    assert progress(tmp_path, job(0, 0.95)).is_over
    assert not progress(tmp_path, job(0, 0.95), job(1, state=State.running)).is_over


def test_a_row_says_what_is_to_be_known_of_a_trial(tmp_path):
    run = tmp_path / "trial-0001"
    run.mkdir()
    (run / "summary.json").write_text(json.dumps({"steps": 900}))
    (run / "metrics.jsonl").write_text('{"step": 340, "train/loss": 1}\n')
    stopped = job(2, 0.2, state=State.stopped, reason="band 3: worse", band=3, owner="node8:14:1:a")
    jobs = [job(0, 0.51234), job(1, 0.4, state=State.running), stopped]
    text = printed(table(progress(tmp_path, *jobs, cap=12), 20))
    rows = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]]
        for line in text.splitlines()
        if "│" in line
    }
    assert rows["0 *"] == ["completed", "0", "0.1235", "51.2 %", "1", "node7:12", ""]
    assert rows["1"] == ["running", "1", "0.1235", "40.0 %", "340/900", "node7:12", ""]
    assert rows["2"] == ["stopped, band 3", "2", "0.1235", "20.0 %", "1", "node8:14", "band 3: worse"]
    assert "3 of 12 trials: 1 running, 1 completed, 1 stopped; the best is trial 0, val/miou 51.2 %" in text


def test_an_agent_alone_is_not_named(tmp_path):
    assert "node7" not in printed(table(progress(tmp_path, job(0, 0.5), job(1, 0.4)), 20))


def test_where_it_is_narrow_a_trial_still_has_one_line(tmp_path):
    jobs = [job(number, 0.2, state=State.stopped, reason="band 3: worse than 0.5 " * 9) for number in range(5)]
    narrow = Console(width=60, file=StringIO())
    narrow.print(table(progress(tmp_path, *jobs), 20))
    assert narrow.file.getvalue().count("│\n") == 5


def wide(progress):
    """Trials of the shipped file, as they are told at some width."""
    return status._Rows(progress, 20)


def shipped_jobs(count=6):
    why = "band 2: val/miou 31.2 % is worse than 43.9 %, which 3 of 6 runs had reached there"
    settings = {"optim.offset_lr_mult": 0.0123456, "conv.offset_groups": 4, "conv.groups": 2, "conv.layers": 6}
    return [
        replace(job(n, 0.3125, state=State.stopped, reason=f"{why}, number {n}", band=2), parameters=settings)
        for n in range(count)
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160, 300])
def test_told_once_every_value_and_every_reason_is_whole_at_any_width(tmp_path, width):
    jobs = shipped_jobs()
    screen = Console(width=width, file=StringIO())
    screen.print(wide(progress(tmp_path, *jobs)).whole(width))
    text = screen.file.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    squeezed = "".join(letter for letter in text if letter not in " \n│┃")
    for each in jobs:
        assert each.reason.replace(" ", "") in squeezed
    if width >= 60:
        assert text.count("0.01235") == 6
        assert text.count("31.3 %") >= 6 or text.count("31.2 %") >= 6


@pytest.mark.parametrize("width", [80, 160])
def test_why_comes_last(tmp_path, width):
    screen = Console(width=width, file=StringIO())
    jobs = shipped_jobs(2)
    screen.print(wide(progress(tmp_path, jobs[0], replace(jobs[1], owner="node8:1:1:k"))).whole(width))
    text = screen.file.getvalue()
    last = max(text.index(each) for each in ("node7:12", "offset_groups", "step"))
    assert text.index("band 2: val") > last
    header = next(line for line in text.splitlines() if "state" in line)
    assert header.rstrip("┃ ").endswith("why" if width == 160 else "agent")


def test_in_a_pipe_it_is_as_wide_as_it_is(tmp_path, capsys):
    names = [f"section.a_setting_with_a_long_name_{n}" for n in range(9)]
    (first,) = shipped_jobs(1)
    status.show_once(progress(tmp_path, replace(first, parameters=dict.fromkeys(names, 0.123456))))
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "0.1235" in line]
    assert row.count("0.1235") == 9
    assert "…" not in row


def test_what_a_terminal_would_obey_is_written_out(tmp_path):
    odd = replace(job(0, 0.5, state=State.failed, reason="no\nluck \x1b[31m"), parameters={"name": "a\x1b]0;b\x07"})
    for renderable in (table(progress(tmp_path, odd), 5), wide(progress(tmp_path, odd)).whole(80)):
        text = printed(renderable)
        assert "\x1b" not in text
        assert "no luck \\x1b[31m" in text
        assert "a\\x1b]0;b\\x07" in text


def test_of_two_hundred_trials_the_running_the_best_and_the_latest_are_shown(tmp_path):
    rng = random.Random(0)
    jobs = [job(number, rng.random()) for number in range(197)]
    jobs += [job(197, state=State.waiting), job(198, 0.1, state=State.running), job(199, state=State.running)]
    text = printed(table(progress(tmp_path, *jobs), 20))
    shown = {int(line.split("│")[1].split()[0]) for line in text.splitlines() if "│" in line}
    best = sorted(range(197), key=lambda number: -jobs[number].history[0][1])[:5]
    assert len(shown) == 20
    assert {198, 199, 197, 196, 195, *best} <= shown
    assert "180 more" in text


def test_names_are_short_unless_two_are_alike(tmp_path):
    named = dict.fromkeys(["conv.groups", "data.seed", "optim.lr", "seed"], 1)
    header = printed(table(progress(tmp_path, replace(job(0, 0.5), parameters=named)), 5)).splitlines()[1]
    assert [cell.strip() for cell in header.split("┃")[3:7]] == ["groups", "data.seed", "lr", "seed"]


def test_for_machines_it_is_json(tmp_path):
    told = as_json(progress(tmp_path, job(0, 0.5, 0.6), cap=3))
    assert json.loads(json.dumps(told)) == told
    assert (told["states"], told["best"], told["cap"]) == ({"completed": 1}, 0, 3)
    (trial,) = told["trials"]
    assert trial["history"] == [[1, 0.5], [2, 0.6]]
    assert trial["run"] == str(tmp_path / "trial-0000")


def test_without_a_terminal_each_change_is_a_line(tmp_path, capsys):
    with watching() as show:
        show(progress(tmp_path, job(0, state=State.running)))
        show(progress(tmp_path, job(0, 0.1, state=State.running)))
        show(progress(tmp_path, job(0, 0.2), job(1, state=State.running)))
        show(progress(tmp_path, job(0, 0.2), job(1, 0.1, state=State.running, attempts=2)))
        show(progress(tmp_path, job(0, 0.2), job(1, 0.1, state=State.stopped, reason="band 1: bad")))
    assert capsys.readouterr().out.splitlines() == [
        "trial 0: running, optim.lr=0.1235 conv.groups=0 (node7:12)",
        "trial 0: completed, val/miou 20.0 %",
        "trial 1: running, optim.lr=0.1235 conv.groups=1 (node7:12)",
        "lr: 2 trials: 1 running, 1 completed; the best is trial 0, val/miou 20.0 %",
        "trial 1: running, attempt 2, optim.lr=0.1235 conv.groups=1 (node7:12)",
        "trial 1: stopped, val/miou 10.0 %: band 1: bad",
        "lr: 2 trials: 1 completed, 1 stopped; the best is trial 0, val/miou 20.0 %",
    ]


def test_the_time_left_is_what_the_trials_so_far_took_for_each_that_is_to_come(tmp_path):
    """Of five, two took 10 minutes, one has just begun, and two are not drawn yet: three after each other."""
    now = time.time()
    ended = [replace(job(number, 0.1), attempts=1, started=now - 600, ended=now) for number in (0, 1)]
    running = replace(job(2, state=State.running), attempts=1, started=now)
    told = summary(progress(tmp_path, *ended, running, cap=5))
    assert "; 30 min 0 s left" in told or "; 29 min 59 s left" in told
    assert "left" not in summary(progress(tmp_path, *ended, cap=2))


def test_on_a_terminal_the_table_is_kept_up_to_date(tmp_path, monkeypatch):
    screen = StringIO()
    monkeypatch.setattr(status, "console", Console(force_terminal=True, width=120, height=30, file=screen))
    with watching() as show:
        show(progress(tmp_path, job(0, 0.1, state=State.running)))
        show(progress(tmp_path, job(0, 0.25)))
    assert "completed" in screen.getvalue()
    assert "the best is trial 0, val/miou 25.0 %" in screen.getvalue()


@pytest.mark.parametrize(
    ("cap", "settings", "said"),
    [(50, 2, "2 of 2"), (None, 2, "2 of 2"), (3, 9, "2 of 3"), (3, None, "2 of 3"), (1, 9, "2 of 2")],
)
def test_no_more_trials_are_spoken_of_than_there_are_to_come(tmp_path, cap, settings, said):
    told = summary(progress(tmp_path, job(0, 0.1), job(1, 0.2), cap=cap, settings=settings))
    assert told.startswith(f"lr: {said} trials: 2 completed")


def test_before_the_first_trial_and_without_a_metric(tmp_path):
    assert summary(progress(tmp_path, cap=3)) == "lr: 0 of 3 trials"
    assert summary(progress(tmp_path)) == "lr: 0 trials"
    assert "completed" in printed(table(progress(tmp_path, job(0), metric=None), 5))


@pytest.mark.parametrize(
    ("method", "cap", "words"),
    [
        ("random", 4, "4 trials"),
        ("random", 1, "1 trial"),
        ("random", None, "6 trials, one for each setting that there is"),
        ("random", 9, "6 trials, one for each setting that there is"),
        ("grid", None, "a grid of 6 trials"),
        ("grid", 9, "a grid of 6 trials"),
        ("grid", 4, "4 trials of a grid of 6"),
    ],
)
def test_the_number_of_trials_in_words(tmp_path, method, cap, words):
    text = f"method: {method}\nparameters: {{optim.lr: {{values: [1, 2]}}, seed: {{min: 1, max: 3}}}}\n"
    assert extent(parse_sweep(text, tmp_path / "a.yaml"), cap) == words


def test_without_an_end_it_is_said(tmp_path):
    sweep = parse_sweep("method: random\nparameters: {optim.lr: {min: 0.1, max: 1.0}}\n", tmp_path / "a.yaml")
    assert extent(sweep, None) == "trials until you stop it (there is no run_cap and no --count)"
    assert extent(sweep, 3) == "3 trials"


def test_a_grid_of_a_billion_is_counted_and_equal_values_once(tmp_path):
    text = "method: grid\nparameters: {seed: {values: [0, 1, 1, 2]}, data.seed: {min: 1, max: 1000000000}}\n"
    assert extent(parse_sweep(text, tmp_path / "a.yaml"), 3) == "3 trials of a grid of 3000000000"
    without = "method: grid\nparameters: {seed: {values: [0, 1, 1, 2]}}\n"
    assert extent(parse_sweep(without, tmp_path / "a.yaml"), None) == "a grid of 3 trials"


def test_how_a_sweep_stands_is_told_of_one_that_was_started(sweeps, capsys):
    sweeps.write()
    result = sweeps.run_here(count=2)
    told = QuickEngine().show_status(str(sweeps.out), Options())
    assert told == {key: value for key, value in result.items() if key != "command"}
    assert "2 of 2 trials: 2 completed" in capsys.readouterr().out
    with pytest.raises(UsageError, match="There is no sweep nowhere"):
        QuickEngine().show_status("nowhere", Options())
