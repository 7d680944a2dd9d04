import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcnrun.errors import RunError, UsageError
from dcnrun.jobs import supervisor
from dcnrun.jobs.supervisor import MOST_STARTS, agent_specs, gpu_groups, split_count, supervise

LOG_START = "import os, sys, time; open('starts', 'a').write(os.environ.get('CUDA_VISIBLE_DEVICES', '-') + '\\n'); "


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def program(code):
    return [sys.executable, "-S", "-c", LOG_START + code]


def starts():
    return sorted(Path("starts").read_text().split()) if Path("starts").exists() else []


def test_gpus_are_split_into_groups_of_as_many_as_a_run_needs():
    gpus = ["0", "1", "2", "3", "4"]
    assert gpu_groups(gpus, 1) == gpus
    assert gpu_groups(gpus, 2) == ["0,1", "2,3"]
    with pytest.raises(UsageError, match=r"trainer\.devices=6 GPUs, but --gpus names 5"):
        gpu_groups(gpus, 6)


def test_an_agent_for_each_group_of_gpus_with_its_share_of_the_cores():
    specs = agent_specs(1, ["0,1", "2,3"], Path("logs"), {"A": "b"})
    share = str(max(len(os.sched_getaffinity(0)) // 2, 1))
    assert [spec.environment["CUDA_VISIBLE_DEVICES"] for spec in specs] == ["0,1", "2,3"]
    assert all(spec.environment["A"] == "b" and spec.environment["OMP_NUM_THREADS"] == share for spec in specs)
    assert len({spec.log for spec in specs}) == 2


def test_a_lone_agent_has_all_cores_and_what_the_user_said_holds(monkeypatch):
    assert agent_specs(1, [], Path("logs"), {})[0].environment == {}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert all("OMP_NUM_THREADS" not in spec.environment for spec in agent_specs(4, [], Path("logs"), {}))


def test_agents_run_at_the_same_time_each_in_its_environment():
    supervise(program("time.sleep(1)"), agent_specs(1, ["0", "1"], Path("logs"), {}))
    assert starts() == ["0", "1"]


def test_the_last_look_is_at_what_they_left():
    looks = []
    supervise(
        program("open('left', 'w')"), agent_specs(1, [], Path("logs"), {}), lambda: looks.append(Path("left").exists())
    )
    assert looks[0] is False
    assert looks[-1] is True


def test_one_that_is_killed_is_started_again_but_not_for_ever(capsys):
    with pytest.raises(RunError, match=r"agent 0 was killed by signal 9: so it goes \(all of it: logs/"):
        supervise(
            program("print('so it goes', flush=True); os.kill(os.getpid(), 9)"), agent_specs(1, [], Path("logs"), {})
        )
    assert len(starts()) == MOST_STARTS
    assert capsys.readouterr().out.count("started again") == MOST_STARTS - 1


def test_one_that_is_killed_just_before_it_is_asked_whether_it_runs_is_started_again(monkeypatch):
    look_at, code = supervisor._Agent.restart_if_killed, "time.sleep(0 if os.path.exists('begun') else 60)"

    def look_at_and_kill(agent):
        look_at(agent)
        if starts() and agent.starts == 1:
            Path("begun").touch()
            agent.process.kill()
            agent.process.wait()

    monkeypatch.setattr(supervisor._Agent, "restart_if_killed", look_at_and_kill)
    supervise(program(code), agent_specs(1, [], Path("logs"), {}))
    assert len(starts()) == 2


def test_one_that_ends_by_itself_is_not_restarted_and_the_others_continue():
    code = "sys.exit(os.environ['CUDA_VISIBLE_DEVICES'] == '0')"
    supervise(program(code), agent_specs(1, ["0", "1"], Path("logs"), {}))
    assert starts() == ["0", "1"]


def test_when_none_ends_well_their_last_words_are_told():
    with pytest.raises(
        RunError, match=r"(?s)agent 0 ended with status 3: no disk.*agent 1 ended with status 3: no disk"
    ):
        supervise(program("print('no disk'); sys.exit(3)"), agent_specs(2, [], Path("logs"), {}))


def test_a_program_that_does_not_start_says_so():
    with pytest.raises(RunError, match=r"No such file|/does/not/exist: not found"):
        supervise(["/does/not/exist"], agent_specs(1, [], Path("logs"), {}))


def test_an_interrupt_is_passed_on_and_waited_for():
    code = "import signal; signal.signal(15, lambda *_: (time.sleep(0.5), open('saved', 'w').close(), sys.exit(130))); "
    interrupt_when(lambda: Path("ready").exists())
    with pytest.raises(KeyboardInterrupt):
        supervise(program(code + "open('ready', 'w').close(); time.sleep(60)"), agent_specs(1, [], Path("logs"), {}))
    assert Path("saved").exists()


def test_one_that_does_not_stop_is_killed():
    code = (
        "import signal; signal.signal(15, signal.SIG_IGN); open('ready', 'w').write(str(os.getpid())); time.sleep(60)"
    )
    interrupt_when(lambda: Path("ready").exists() and Path("ready").read_text())
    with pytest.raises(KeyboardInterrupt):
        supervise(program(code), agent_specs(1, [], Path("logs"), {}), seconds_to_end=0.3)
    assert not Path("/proc", Path("ready").read_text()).exists()


def interrupt_when(condition):
    def interrupt():
        end = time.monotonic() + 30
        while not condition() and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()


@given(st.integers(1, 200), st.integers(1, 12))
def test_a_count_is_split_exactly_and_evenly(count, agents):
    each = split_count(count, agents)
    assert sum(each) == count
    assert max(each) - min(each) <= 1
    assert len(each) == min(count, agents)


def test_without_a_count_none_has_one():
    assert split_count(None, 3) == [None] * 3
