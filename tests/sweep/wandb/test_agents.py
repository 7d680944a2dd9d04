"""How many runs each agent takes, what it is given, and how agents end."""

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wandb import wandb_agent

from dcnrun.errors import RunError
from dcnrun.sweep.wandb_engine.agents import plan_agents, run_agents
from tests.sweep.wandb.driving import KEY, client_environment
from tests.sweep.wandb.standin import ENTITY, SWEEP, Server

HERE = Path()
# Stands for `python -m wandb`: says what it was given.
CLIENT = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.environ["CUDA_VISIBLE_DEVICES"], os.environ["WANDB_TAGS"]]))
"""
# A run that saves when it is asked to stop, as trainings do.
TRAINING = """
import os, signal, sys, time
from pathlib import Path
def save(*_):
    Path("saved").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
Path("running").write_text(f"{os.getpid()} {os.getppid()}")
time.sleep(120)
"""
AGENTS = f"""
import os
from pathlib import Path
from dcnrun.sweep.wandb_engine.agents import plan_agents, run_agents
run_agents(plan_agents(None, 1, [], Path()), "{ENTITY}/rivers/{SWEEP}", os.environ)
"""


def test_a_count_is_shared_and_none_has_none():
    assert [agent.runs for agent in plan_agents(5, 3, [], HERE)] == [2, 2, 1]
    assert [agent.runs for agent in plan_agents(2, 3, [], HERE)] == [1, 1]


def test_without_a_count_every_agent_goes_on_until_the_end():
    assert [agent.runs for agent in plan_agents(None, 3, [], HERE)] == [None] * 3


def test_each_gpu_gets_an_agent():
    agents = plan_agents(3, 1, ["0", "2,3"], HERE)
    assert [(agent.gpu, agent.runs) for agent in agents] == [("0", 2), ("2,3", 1)]
    assert len({agent.log for agent in agents}) == 2


def with_client(tmp_path, program):
    """The environment in which `program` is what `python -m wandb` runs."""
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "__init__.py").touch()
    (tmp_path / "wandb" / "__main__.py").write_text(program)
    return os.environ | {"PYTHONPATH": str(tmp_path), "WANDB_TAGS": "a,b"}


def test_agents_are_given_their_gpu_and_their_count(tmp_path):
    agents = plan_agents(3, 1, ["0", "2,3"], tmp_path)
    run_agents(agents, "me/rivers/s1", with_client(tmp_path, CLIENT))
    given_to = [json.loads(agent.log.read_text()) for agent in agents]
    assert [(gpu, tags) for _, gpu, tags in given_to] == [("0", "a,b"), ("2,3", "a,b")]
    counts = [arguments[arguments.index("--count") + 1] for arguments, _, _ in given_to]
    assert counts == ["2", "1"]
    assert all(arguments[0] == "agent" and arguments[-1] == "me/rivers/s1" for arguments, _, _ in given_to)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import sys; sys.exit('no such sweep')", "no such sweep"),
        ("print('Detected 3 failed runs in the first 60 seconds, shutting down.')", "Detected 3 failed runs"),
    ],
)
def test_an_agent_that_gives_up_is_an_error_with_its_last_words(tmp_path, program, says):
    environment = with_client(tmp_path, program)
    with pytest.raises(RunError, match=rf"agent 0 gave up; .*agent-0.log ends with: .*{says}"):
        run_agents(plan_agents(1, 1, [], tmp_path), "me/rivers/s1", environment)


def test_the_client_still_says_failed_runs_when_it_gives_up():
    source = inspect.getsource(wandb_agent.Agent)
    assert source.count("failed runs in") == 2


def wait_for(what, seconds=40):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def is_gone(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_agents_and_their_runs_end_with_the_sweep(tmp_path, number):
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("needs Linux")
    with Server([{"a": 1}]) as server:
        server.project, server.config = "rivers", {"command": ["${env}", sys.executable, "-c", TRAINING]}
        environment = client_environment(tmp_path, server.url, WANDB_API_KEY=KEY)
        sweep = subprocess.Popen(
            [sys.executable, "-c", AGENTS], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        )
        running = tmp_path / "running"
        wait_for(lambda: running.exists() and running.read_text())
        sweep.send_signal(number)
        _, err = sweep.communicate(timeout=60)
        wait_for((tmp_path / "saved").exists)
        for process_id in running.read_text().split():  # the run and its agent
            wait_for(lambda process_id=int(process_id): is_gone(process_id))
    assert sweep.returncode != 0
    if number != signal.SIGKILL:
        assert "KeyboardInterrupt" in err
