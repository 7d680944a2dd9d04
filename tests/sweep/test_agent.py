import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dcnrun.jobs.ledger import State
from dcnrun.jobs.train import PROGRAM
from dcnrun.sweep.agent import run_agent
from dcnrun.sweep.engines.engine import Options
from dcnrun.sweep.storage import create_ledger
from tests.sweep import fakes
from tests.sweep.factories import QuickEngine


def created(sweeps, cap, storage=None, *overrides):
    plan = QuickEngine().plan(sweeps.write(), overrides, Options())
    return create_ledger(plan, "lr", sweeps.out, storage, cap)


def test_an_agent_takes_as_many_trials_as_it_was_asked_to(sweeps):
    ledger = created(sweeps, cap=5)
    first = run_agent(str(sweeps.out), count=2, program=fakes.TRIAL)
    assert [(trial["trial"], trial["state"]) for trial in first["trials"]] == [(0, "completed"), (1, "completed")]
    rest = run_agent(str(sweeps.out), program=fakes.TRIAL)
    assert [trial["trial"] for trial in rest["trials"]] == [2, 3, 4]
    assert [job.state for job in ledger.jobs()] == [State.completed] * 5
    assert run_agent(str(sweeps.out), program=fakes.TRIAL)["trials"] == []


def test_trials_may_be_elsewhere_on_another_machine(sweeps, tmp_path):
    created(sweeps, cap=1)
    run_agent(str(sweeps.out), out=tmp_path / "scratch", program=fakes.TRIAL)
    assert (tmp_path / "scratch" / "trial-0000" / "metrics.jsonl").exists()
    assert not (sweeps.out / "trial-0000").exists()
    assert (tmp_path / "scratch" / "sweep.json").read_text() == (sweeps.out / "sweep.json").read_text()


def test_four_agents_with_postgresql_one_killed_lose_nothing_and_keep_the_cap(sweeps, postgres):
    cap, storage = 8, postgres.new_database()
    ledger = created(sweeps, cap, storage, "trainer.steps=20")
    sweeps.pause(0.05)
    given = {"sweep": ledger.name, "storage": storage, "out": sweeps.out, "program": fakes.TRIAL}
    agents = [multiprocessing.get_context("fork").Process(target=run_agent, kwargs=given) for _ in range(4)]
    for each in agents:
        each.start()
    end = time.monotonic() + 60
    while not any(is_of(job, agents[0]) and job.history for job in ledger.jobs()):
        assert time.monotonic() < end
        time.sleep(0.02)
    agents[0].kill()
    for each in agents:
        each.join(120)
    assert [each.exitcode for each in agents] == [-9, 0, 0, 0]
    jobs = ledger.jobs()
    assert [(job.number, job.state) for job in jobs] == [(number, State.completed) for number in range(cap)]
    assert sum(job.attempts for job in jobs) <= cap + 1
    assert all(len(sweeps.starts(job.number)) <= job.attempts for job in jobs)
    assert all([step for step, _ in job.history] == list(range(1, 21)) for job in jobs)


def is_of(job, process):
    return (job.owner or "").split(":")[1] == str(process.pid)


def test_gpus_for_several_agents_start_one_each(sweeps):
    created(sweeps, cap=1)
    started = []

    def supervise(command, specs):
        started.append((command, specs))

    assert run_agent(str(sweeps.out), gpus=["0", "3"], supervise=supervise)["agents"] == 2
    ((command, specs),) = started
    assert command == [*PROGRAM, "agent", str(sweeps.out)]
    assert [spec.environment["CUDA_VISIBLE_DEVICES"] for spec in specs] == ["0", "3"]
    assert [spec.arguments for spec in specs] == [(), ()]


@pytest.mark.parametrize(("count", "each"), [(5, ["2", "2", "1"]), (2, ["1", "1"])])
def test_agents_of_several_gpus_share_the_count(sweeps, count, each):
    created(sweeps, cap=9)
    started = []

    def supervise(command, specs):
        started.extend(specs)

    assert run_agent(str(sweeps.out), gpus=["0", "1", "2"], count=count, supervise=supervise)["agents"] == len(each)
    assert [spec.arguments for spec in started] == [("--count", share) for share in each]


def test_one_gpu_is_all_that_the_trials_see(sweeps, monkeypatch):
    created(sweeps, cap=1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    script = sweeps.out / "look.py"
    script.write_text("import os; print('sees', os.environ['CUDA_VISIBLE_DEVICES'])")
    run_agent(str(sweeps.out), gpus=["3"], program=[sys.executable, str(script)])
    assert "sees 3" in (sweeps.out / "trial-0000.log").read_text()


def test_an_agent_does_without_torch(sweeps):
    created(sweeps, cap=2)
    code = (
        "import sys; from dcnrun.sweep.agent import run_agent; from tests.sweep import fakes; "
        f"run_agent({str(sweeps.out)!r}, program=fakes.TRIAL); print('torch' in sys.modules, 'optuna' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert result.stdout.splitlines()[-1] == "False True", result.stderr
