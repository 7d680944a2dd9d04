import json
import multiprocessing
import os
import random
import shlex
import signal
import sqlite3
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from dcnrun.errors import RunError, UsageError
from dcnrun.jobs import process, supervisor
from dcnrun.jobs.database import STORAGE, sqlite_url
from dcnrun.jobs.ledger import Ledger, State
from dcnrun.jobs.train import PROGRAM
from dcnrun.sweep.engines.engine import Options
from dcnrun.sweep.engines.local import LocalEngine
from tests.fakes import call_dcnrun_with_forks, forking
from tests.jobs.factories import wait_until
from tests.postgres import PASSWORD
from tests.sweep import fakes
from tests.sweep.factories import WANDB_COMMAND, QuickEngine, call_fake, is_fake, parsed
from tests.training.factories import TINY
from tests.training.fakes import FORKSERVER


def ledger_of(out: Path) -> Ledger:
    return Ledger.open(sqlite_url(out / "ledger.db"), "sweep")


def states(result):
    return [trial["state"] for trial in result["trials"]]


def test_a_sweep_has_as_many_trials_as_its_cap_and_finds_the_best(sweeps, capsys):
    sweeps.write()
    result = sweeps.run("data=nuclei", agents=2)
    assert states(result) == ["completed"] * 5
    rates = [trial["parameters"]["optim.lr"] for trial in result["trials"]]
    best = max(range(5), key=lambda number: fakes.value(rates[number]))
    assert result["best"] == best
    assert result["trials"][best]["value"] == pytest.approx(fakes.value(rates[best]) + 0.03)
    assert [step for step, _ in result["trials"][0]["history"]] == [1, 2, 3, 4]
    overrides = ["trainer.steps=4", f"optim.lr={rates[best]}", "data=nuclei"]
    assert shlex.split(result["command"]) == ["dcnrun", "train", *overrides]
    assert (sweeps.out / f"trial-{best:04d}" / "overrides.txt").read_text().splitlines() == overrides
    assert (sweeps.out / "sweep.yaml").read_text() == sweeps.file.read_text()
    assert len(list((sweeps.out / "logs").iterdir())) == 2
    out = capsys.readouterr().out
    assert f"trial {best}: completed, val/miou" in out
    assert result["command"] in out


def test_the_same_command_starts_nothing_more_and_a_larger_count_adds_trials(sweeps):
    sweeps.write(run_cap=10)
    first = sweeps.run_here(count=2)
    assert sweeps.run_here(count=2) == first
    more = sweeps.run_here(count=4)
    assert more["trials"][:2] == first["trials"]
    assert states(more) == ["completed"] * 4
    assert [len(sweeps.starts(trial)) for trial in range(4)] == [1] * 4


def test_a_grid_ends_when_it_is_exhausted(sweeps, capsys):
    sweeps.write_grid(0.1, 0.01, 1.0)
    result = sweeps.run_here()
    assert "lr: 3 of 3 trials: 3 completed" in capsys.readouterr().out, "and not of the 50 that run_cap allows"
    assert [trial["parameters"]["optim.lr"] for trial in result["trials"]] == [0.1, 0.01, 1.0]
    assert result["best"] == 1


def test_the_stop_rule_stops_a_trial_and_says_why(sweeps):
    sweeps.write_grid(0.01, 1.0, early_terminate={"type": "hyperband", "min_iter": 2, "eta": 3})
    sweeps.pause(0.2)
    result = sweeps.run_here("trainer.steps=12")
    assert states(result) == ["completed", "stopped"]
    stopped = result["trials"][1]
    assert stopped["band"] == 2
    assert stopped["reason"].startswith("band 2: val/miou 31.0 % is worse than 51.0 %")
    assert 2 <= len(stopped["history"]) < 12
    summary = json.loads((sweeps.out / "trial-0001" / "summary.json").read_text())
    assert summary["status"] == "stopped"
    assert result["best"] == 0


def test_the_target_ends_the_sweep_and_trials_that_run_go_on_to_their_ends(sweeps, capsys):
    metric = {"name": "val/miou", "goal": "maximize", "target": 0.45}
    sweeps.write_grid(1.0, 0.01, 0.9, 0.8, 0.7, metric=metric)
    sweeps.pause(0.3)
    result = sweeps.run_here("trainer.steps=8")
    assert result["target_reached"] is True
    assert states(result) == ["completed", "completed"], "the second reports 0.5 at its first step"
    assert [len(trial["history"]) for trial in result["trials"]] == [8, 8]
    assert "The sweep is over: val/miou reached its target 45.0 %." in capsys.readouterr().out
    assert states(sweeps.run_here("trainer.steps=8")) == ["completed", "completed"]


def test_a_search_ends_when_everything_was_tried_and_says_so(sweeps, capsys):
    sweeps.write(method="bayes", parameters={"optim.lr": {"values": [0.1, 0.01]}}, run_cap=5)
    result = sweeps.run_here()
    assert sorted(trial["parameters"]["optim.lr"] for trial in result["trials"]) == [0.01, 0.1]
    assert states(result) == ["completed"] * 2
    out = capsys.readouterr().out
    assert "lr: 2 trials, one for each setting that there is" in out
    assert (
        "Each of the 2 settings that the sweep file allows was tried: a run of the same settings gives the same" in out
    )


def test_a_damaged_row_of_the_ledger_is_named_and_the_rest_continue(sweeps, capsys):
    sweeps.write_grid(0.1, 0.01, 1.0)
    sweeps.run_here(count=2)
    with sqlite3.connect(sweeps.out / "ledger.db") as connection:
        connection.execute(
            "UPDATE dcnrun_jobs SET parameters = '{\"optim.momentum\": 1}', state = 'running' WHERE number = 0"
        )
    connection.close()
    why = "its row in the ledger is damaged: its parameters are optim.momentum, and not optim.lr"
    capsys.readouterr()
    result = sweeps.run_here()
    out = capsys.readouterr().out
    assert f"trial 0: failed: {why}" in out
    assert [(trial["number"], trial["state"]) for trial in result["trials"]] == [
        (0, "failed"),
        (1, "completed"),
        (2, "completed"),
        (3, "completed"),
    ]
    assert [trial["parameters"].get("optim.lr") for trial in result["trials"]] == [None, 0.01, 0.1, 1.0]
    status = LocalEngine().show_status(str(sweeps.out), Options())
    assert status["trials"][0]["reason"] == why
    assert result["best"] == 1


def test_a_failed_trial_is_listed_and_the_rest_continue(sweeps):
    sweeps.write()
    sweeps.does(1, "crash")
    result = sweeps.run_here()
    assert states(result) == ["completed", "failed", "completed", "completed", "completed"]
    assert result["trials"][1]["reason"] == "exit status 3: ValueError: no such luck"
    assert result["trials"][1]["value"] is None
    assert result["best"] != 1


def test_trials_that_failed_are_resumed_when_that_is_asked_for(sweeps, capsys):
    sweeps.write(run_cap=3)
    sweeps.does(1, "crash")
    before = sweeps.run_here()
    assert "1 trial failed: --retry-failed runs it again." in capsys.readouterr().out
    sweeps.does(1, None)
    assert sweeps.run_here() == before
    after = sweeps.run_here(retry_failed=True)
    assert states(after) == ["completed"] * 3
    assert [trial["parameters"] for trial in after["trials"]] == [trial["parameters"] for trial in before["trials"]]
    assert [start.split()[0] for start in sweeps.starts(1)] == ["--run-dir", "--resume"]
    assert [len(sweeps.starts(trial)) for trial in range(3)] == [1, 2, 1]
    capsys.readouterr()
    sweeps.run_here(retry_failed=True)
    assert "--retry-failed" not in capsys.readouterr().out


def test_where_no_trial_reports_the_metric_it_is_said(sweeps, capsys):
    sweeps.write_grid(0.1)
    sweeps.does(0, "report nothing")
    assert states(sweeps.run_here()) == ["completed"]
    said = f"No trial reported a finite val/miou: nothing can be ranked (see {sweeps.out}/trial-*/metrics.jsonl)."
    assert said in capsys.readouterr().out


def test_a_database_that_was_waited_for_in_vain_is_not_asked_again(sweeps, monkeypatch):
    asked = []

    def jobs(ledger):
        asked.append(ledger.name)
        raise RunError("The database is away.")

    def supervise(command, specs, look):
        monkeypatch.setattr(Ledger, "jobs", jobs)
        look()

    with pytest.raises(RunError, match="away"):
        QuickEngine(supervise=supervise).run(sweeps.write(), [], sweeps.options())
    assert len(asked) == 1


def test_when_every_trial_fails_so_does_the_sweep(sweeps):
    sweeps.write(run_cap=50)
    for trial in range(3):
        sweeps.does(trial, "crash")
    message = (
        r"(?s)Every trial failed:.*trial 0: exit status 3: ValueError: no such luck .*trial-0000\.log.*--retry-failed"
    )
    with pytest.raises(RunError, match=message):
        sweeps.run_here()
    assert len(ledger_of(sweeps.out).jobs()) == 3, "it should give up at once"


def test_an_agent_that_is_killed_is_started_again_and_its_trial_resumed(sweeps, capsys):
    sweeps.write(run_cap=3)
    sweeps.does(1, "kill the agent")
    result = sweeps.run()
    assert states(result) == ["completed"] * 3
    assert [trial["attempts"] for trial in result["trials"]] == [1, 2, 1]
    assert [start.split()[0] for start in sweeps.starts(1)] == ["--run-dir", "--resume"]
    assert "agent 0 was killed by signal 9" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_lets_trials_save_and_the_same_command_resumes(sweeps, capsys, number):
    sweeps.write(run_cap=3)
    sweeps.pause(0.1)

    def interrupt():
        wait_until(lambda: (sweeps.out / "trial-0001" / "checkpoint").exists())
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        sweeps.run("trainer.steps=8")
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert "The same command resumes." in capsys.readouterr().out
    jobs = ledger_of(sweeps.out).jobs()
    assert [job.state for job in jobs] == [State.completed, State.waiting]
    saved = int((sweeps.out / "trial-0001" / "checkpoint").read_text())
    assert 1 <= saved < 8
    sweeps.pause(0.01)
    result = sweeps.run_here("trainer.steps=8")
    assert states(result) == ["completed"] * 3
    assert [trial["attempts"] for trial in result["trials"]] == [1, 1, 1], "an interrupt is no failed attempt"
    assert [start.split()[0] for start in sweeps.starts(1)] == ["--run-dir", "--resume"]
    assert [step for step, _ in result["trials"][1]["history"]] == list(range(1, 9))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells agents of their parent's end on Linux only")
@pytest.mark.slow
def test_killed_at_random_moments_and_started_again_it_ends_with_exactly_the_cap(sweeps):
    """Six times, anywhere and then with trials underway; benchmarks/sweep_kill.py does it twenty times to real trials."""
    kills = 6
    cap, rng, jobs, done = 2 * kills, random.Random(0), [], []

    def are_completed_and_more():
        now = jobs_of(sweeps)
        return completed(now[: len(jobs)]) == now[: len(jobs)] and len(completed(now)) > len(jobs)

    sweeps.write(run_cap=cap)
    sweeps.pause(0.08)
    for kill in range(kills):
        process = started(sweeps)
        if kill % 2:  # past all that was begun before, since a trial has three attempts
            wait_until(lambda: process.exitcode is not None or are_completed_and_more(), pause=0.2)  # noqa: B023
        time.sleep(rng.uniform(0, 0.5 if kill % 2 else 1))
        process.kill()
        process.join()
        jobs = jobs_of(sweeps)
        assert [jobs[job.number] for job in done] == done, "a finished trial was lost or run again"
        done = completed(jobs)
    last = started(sweeps)
    last.join()
    assert last.exitcode == 0
    jobs = jobs_of(sweeps)
    assert [(job.number, job.state) for job in jobs] == [(number, State.completed) for number in range(cap)]
    assert [jobs[job.number] for job in done] == done
    assert all([step for step, _ in job.history] == [1, 2, 3, 4] for job in jobs)


def started(sweeps):
    """The sweep, with two agents, as a process of its own: neither it nor its agents and trials have anything to import."""
    process = multiprocessing.get_context("fork").Process(target=run_with_forks, args=(sweeps,))
    process.start()
    return process


def run_with_forks(sweeps):
    process.start_process = supervisor.start_process = forking(call_fake, is_fake)
    sweeps.run(agents=2)


def jobs_of(sweeps):
    try:
        return ledger_of(sweeps.out).jobs()
    except UsageError:  # there is no ledger yet
        return []


def completed(jobs):
    return [job for job in jobs if job.state is State.completed]


def test_agents_and_trials_end_with_the_sweep(sweeps):
    sweeps.write()
    sweeps.pause(0.1)
    process = started(sweeps)
    wait_until(lambda: (sweeps.out / "trial-0000" / "checkpoint").exists())
    process.kill()
    process.join()
    wait_until(lambda: not processes_of(sweeps.out), 20)


def processes_of(out: Path) -> list[str]:
    """Command lines that name the sweep's folder."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(out) in line]


@contextmanager
def seen_meanwhile(look):
    """What `look` finds again and again until the block ends."""
    seen, over = [], threading.Event()

    def watch():
        while not over.wait(0.05):
            seen.extend(look())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_a_password_in_the_url_is_in_no_file_and_on_no_command_line(sweeps, postgres):
    sweeps.write(run_cap=2)
    sweeps.pause(0.2)
    with seen_meanwhile(lambda: processes_of(sweeps.out)) as seen:
        result = sweeps.run(storage=postgres.new_database())
    assert states(result) == ["completed"] * 2
    assert any(" agent " in command for command in seen)
    assert any(" train " in command for command in seen)
    assert not any(PASSWORD in command for command in seen)
    files = [file for file in sweeps.out.rglob("*") if file.is_file()]
    assert not any(PASSWORD in file.read_text(errors="replace") for file in files)
    assert [start.split()[1] for trial in range(2) for start in sweeps.starts(trial)] == ["False", "False"]
    assert not (sweeps.out / "ledger.db").exists()


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (parsed(WANDB_COMMAND, method="custom"), "lr.yaml:1: method: custom leaves the search to a scheduler"),
        (parsed(WANDB_COMMAND + "scheduler: {engine: wandb}"), "lr.yaml:5: scheduler: is a program"),
        (parsed(WANDB_COMMAND + "controller: {type: local}"), "lr.yaml:5: controller: type: local asks for"),
        (parsed(WANDB_COMMAND + "job: me/p/j:v1"), "lr.yaml:5: job: is for W&B Launch"),
        (
            parsed("program: train.py"),
            "lr.yaml:4: program: the local engine runs `dcnrun train`, but this runs `${env}",
        ),
        (parsed("command: [dcnrun, train]"), "lr.yaml:4: command: ${args_no_hyphens} must be there once"),
        (
            parsed("command: [dcnrun, train, optim.lr=1, '${args_no_hyphens}']"),
            "lr.yaml:3: parameters.optim.lr: is set in `command` too",
        ),
    ],
)
def test_what_the_local_engine_can_not_honour(read, expected):
    (problem,) = LocalEngine().problems(read)
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("spec", "searched"),
    [
        ("{distribution: log_uniform, min: 1.0e-4, max: 0.1}", "1.0001 to 1.10517"),
        ("{distribution: log_uniform, min: 0.001, max: 10}", "1.001 to 22026.5"),
        ("{distribution: q_log_uniform, min: 1, max: 64}", "2.71828 to 6.23515e+27"),
        ("{distribution: inv_log_uniform, min: 0.001, max: 0.1}", "0.904837 to 0.999"),
        ("{distribution: log_uniform, min: -9.2, max: -2.3}", None),
        ("{distribution: log_uniform, min: 0, max: 3}", None),
        ("{distribution: log_uniform, min: 1, max: 6}", None),
        ("{distribution: log_uniform_values, min: 1.0e-4, max: 0.1}", None),
    ],
)
def test_exponents_that_are_clearly_values_are_an_error_with_the_range_that_would_be_searched(spec, searched):
    for parameters in (f"optim.lr: {spec}", f"optim: {{parameters: {{lr: {spec}}}}}"):
        found = LocalEngine().problems(parsed(WANDB_COMMAND, parameters))
        assert len(found) == (searched is not None)
        assert all(problem.startswith("lr.yaml:3: parameters.optim.lr: ") for problem in found)
        assert all(f"so that it would search {searched}. For values from" in problem for problem in found)


def test_what_is_harmless_here():
    more = "controller: {type: cloud}\nproject: p\nentity: e\ndescription: d\nkind: sweep\n"
    assert LocalEngine().problems(parsed(WANDB_COMMAND + more)) == []
    assert LocalEngine().problems(parsed("# no command at all")) == []


def test_settings_that_cannot_be_compared_are_refused_at_once_where_they_are_to_be_repeated(sweeps):
    sweeps.write(parameters={"trainer.steps": {"values": [4, 8]}}, command=["dcnrun", "train", "${args_no_hyphens}"])
    QuickEngine().plan(sweeps.file, [], Options())
    with pytest.raises(UsageError, match=r"trainer\.steps is 4 for trainer\.steps=4 but 8"):
        QuickEngine().plan(sweeps.file, [], Options(repeats=2))


def test_the_database_may_be_named_by_the_environment_alone(sweeps, monkeypatch):
    storage = sqlite_url(sweeps.file.with_name("elsewhere.db"))
    monkeypatch.setenv(STORAGE, storage)
    sweeps.write_grid(0.1)
    result = sweeps.run()
    assert states(result) == ["completed"]
    assert not (sweeps.out / "ledger.db").exists()
    assert len(Ledger.open(storage, "lr").jobs()) == 1
    assert LocalEngine().show_status("lr", Options(out=sweeps.out))["states"] == {"completed": 1}


@pytest.mark.slow
def test_real_trials_as_a_user_runs_them(tmp_path):
    file = tmp_path / "lr.yaml"
    file.write_text(
        json.dumps(
            {
                "method": "bayes",
                "metric": {"name": "val/miou", "goal": "maximize"},
                "parameters": {"optim.offset_lr_mult": {"min": 0.01, "max": 1.0}},
                "command": ["${env}", "dcnrun", "train", *TINY, "${args_no_hyphens}"],
            }
        )
    )
    out, log = tmp_path / "out", tmp_path / "printed"
    command = [*PROGRAM, "sweep", str(file), "--count", "1", "--out", str(out), "--json"]
    process = FORKSERVER.Process(target=call_dcnrun_with_forks, args=(command, log))
    process.start()
    process.join()
    assert process.exitcode == 0, log.read_text()
    result = json.loads(log.read_text().splitlines()[-1])
    (trial,) = result["trials"]
    summary = json.loads((Path(trial["run"]) / "summary.json").read_text())
    assert trial["state"] == summary["status"] == "completed"
    assert trial["value"] == summary["best"]["val/miou"]
    assert (trial["step"], trial["steps"]) == (6, 6)
    assert LocalEngine().show_status(str(out), Options()) == {
        key: value for key, value in result.items() if key != "command"
    }


RANK = """
import json, os, sys
from pathlib import Path
run = Path(sys.argv[sys.argv.index("--run-dir") + 1])
run.mkdir(exist_ok=True)
(run / f"rank-{os.environ['RANK']}").write_text(json.dumps([os.environ["WORLD_SIZE"], sys.argv[1:]]))
(run / "summary.json").write_text('{"status": "completed"}')
"""


@pytest.mark.slow
def test_under_torchrun_each_rank_has_the_trials_parameters(sweeps, tmp_path, monkeypatch):
    """By what a `dcnrun` that only looks is given; that it trains as two processes is for tests/training to show."""
    (tmp_path / "dcnrun").mkdir()
    (tmp_path / "dcnrun" / "__init__.py").touch()
    (tmp_path / "dcnrun" / "__main__.py").write_text(RANK)
    monkeypatch.chdir(tmp_path)
    sweeps.write(method="grid", parameters={"optim.lr": {"values": [0.02]}, "optim.offset_lr_mult": {"values": [0.5]}})
    assert states(sweeps.run_here("trainer.devices=2")) == ["completed"]
    run = sweeps.out / "trial-0000"
    given = ["train", "--run-dir", str(run), "trainer.steps=4", "optim.lr=0.02", "optim.offset_lr_mult=0.5"]
    for rank in (0, 1):
        assert json.loads((run / f"rank-{rank}").read_text()) == ["2", [*given, "trainer.devices=2"]]
    assert not (run / "rank-2").exists()
