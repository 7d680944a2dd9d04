"""The W&B engine: what it refuses, how its agents run and end, and a whole sweep with the real client and real trainings."""

import base64
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from wandb import wandb_agent
from wandb.apis.public.sweeps import _validate_config_and_fill_distribution

from dcnrun.errors import RunError, UsageError
from dcnrun.sweep.engines.engine import Options
from dcnrun.sweep.engines.wandb import WandbEngine, plan_agents, run_agents
from dcnrun.sweep.hyperband import Ladder
from dcnrun.sweep.spec.parameters import is_ambiguous
from dcnrun.sweep.spec.sweep_file import EarlyTerminate, Goal
from tests.sweep.engines.fakes import ENTITY, KEY, SWEEP, Run, Server, client_environment, start_engine
from tests.sweep.factories import WANDB_COMMAND, parsed
from tests.training.factories import TINY

HERE = Path()


def problems(sweep):
    return WandbEngine().problems(sweep)


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (parsed(), "lr.yaml:1: method: an agent would not know what to run"),
        (
            parsed(WANDB_COMMAND, "optim.lr: {distribution: log_uniform, min: -3, max: 0}"),
            "lr.yaml:3: parameters.optim.lr: W&B refuses log_uniform by now: use log_uniform_values",
        ),
        (
            parsed(WANDB_COMMAND, "optim: {parameters: {lr: {distribution: q_log_uniform, min: -3, max: 0}}}"),
            "lr.yaml:3: parameters.optim.lr: W&B refuses q_log_uniform by now",
        ),
        (
            parsed(WANDB_COMMAND, "data.flip: {min: 0, max: 0.5}"),
            "lr.yaml:3: parameters.data.flip: W&B's client refuses an integer and another number as ends",
        ),
    ],
)  # fmt: skip
def test_what_agents_of_wandb_would_trip_over(read, expected):
    (problem,) = problems(read)
    assert problem.startswith(expected)


def test_the_client_still_refuses_ends_of_two_kinds():
    def validated(**ends):
        assert is_ambiguous(ends) == (type(ends["min"]) is not type(ends["max"]))
        return _validate_config_and_fill_distribution({"parameters": {"data.flip": ends}})

    for ends in ({"min": 0, "max": 0.5}, {"min": 0.5, "max": 1}):
        with pytest.raises(ValueError, match="ambiguous"):
            validated(**ends)
    for ends in ({"min": 0, "max": 1}, {"min": 0.0, "max": 1.0}):
        assert validated(**ends)


@pytest.mark.parametrize("parameters", ["optim: {parameters: {lr: {value: 1}}}", "conv.dilation: {values: [null, 2]}"])
def test_what_train_understands_from_agents_of_wandb(parameters):
    assert problems(parsed('command: [dcnrun, train, "${args_no_hyphens}"]\n', parameters)) == []


@pytest.mark.parametrize(
    "options",
    [Options(storage="sqlite:///a.db"), Options(seed=0), Options(repeats=2), Options(retry_failed=True)],
    ids=["storage", "seed", "repeats", "retry"],
)
def test_options_of_the_local_engine_are_refused(options):
    with pytest.raises(UsageError, match="for the local engine: leave them out"):
        WandbEngine().run(HERE / "lr.yaml", [], options)


def test_a_dry_run_and_a_status_are_for_the_local_engine():
    with pytest.raises(UsageError, match="--dry-run are for the local engine"):
        WandbEngine().show_plan(HERE / "lr.yaml", [], Options())
    with pytest.raises(UsageError, match="at the sweep's address"):
        WandbEngine().show_status("lr", Options())


SMALL_FILE = """
method: random
parameters: {optim.lr: {min: 0.0, max: 0.1}}
command: ["${env}", dcnrun, train, logger=wandb, logger.wandb_mode=online, "${args_no_hyphens}"]
"""
# What keeps W&B from being asked: the environment, a settings file of W&B, and what is said.
CASES = {
    "no login": ({}, "", "there is none: run `wandb login`"),
    "offline": ({"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "", "W&B is offline here"),
    "disabled": ({"WANDB_API_KEY": KEY, "WANDB_MODE": "disabled"}, "", "W&B is disabled here"),
    "no key": ({"WANDB_API_KEY": "tooshort"}, "", "refuses the login"),
    "offline by file": ({"WANDB_API_KEY": KEY}, "[default]\nmode = offline\n", "W&B is offline here"),
}
# Says of each environment what was dialled or started; without those there is nothing to wait for. The client takes a second
# to import, so each has a process of its own that is forked from one which has it, and has not used it.
WATCHED_LOGIN = """
import json, os, sys, time
import wandb
from dcnrun.errors import UsageError
from dcnrun.sweep.engines.wandb import require_login
imported = time.process_time()
def watch():
    events = []
    dials = ("socket.connect", "socket.getaddrinfo")
    sys.addaudithook(lambda event, _: events.append(event) if event in dials else None)
    try:
        require_login()
    except UsageError as error:
        message = str(error)
    service = wandb.sdk.wandb_setup.singleton()._connection
    print(json.dumps([message, events, service is not None, time.process_time(), imported]), flush=True)
for environment in json.loads(sys.argv[1]):
    if os.fork() == 0:
        os.environ.update(environment)
        watch()
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """What require_login says in each case, what it dialled, whether it started W&B's service, and the seconds that it and the import took."""
    environments = []
    for environment, settings, _ in CASES.values():
        folder = tmp_path_factory.mktemp("client")
        (folder / "client").mkdir()
        if settings:
            (folder / "client" / "settings").write_text(settings)
        environments.append(client_environment(folder, "http://127.0.0.1:9", **environment))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED_LOGIN, json.dumps(environments)],
        env=client_environment(tmp_path_factory.mktemp("all"), "http://127.0.0.1:9"),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_says_at_once_that_it_cannot(watched, case):
    message, dialled, has_service, seconds, seconds_of_import = watched[case]
    assert CASES[case][2] in message
    assert "local engine needs no account" in message
    assert dialled == []
    assert not has_service
    assert seconds < seconds_of_import


def test_a_key_that_the_server_does_not_know(tmp_path):
    with Server(knows_the_key=False) as server:
        process = start_engine(tmp_path, SMALL_FILE, client_environment(tmp_path, server.url, WANDB_API_KEY=KEY))
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "UsageError: Weights & Biases refuses the login" in err
    assert "wandb login --relogin" in err
    assert server.config == {}, "no sweep was made"
    assert KEY not in out + err


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
from dcnrun.sweep.engines.wandb import plan_agents, run_agents
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


PASSWORD = "correct-horse-battery"
FILE = """
name: tiny, but whole
project: rivers
method: random
metric: {name: val/miou, goal: maximize}
early_terminate: {type: hyperband, max_iter: 9, s: 1}
parameters:
  optim.lr: {min: 0.0, max: 0.1}
  trainer.steps: {values: [18, 100000]}
command: ["${env}", dcnrun, train, "${args_no_hyphens}"]
"""
# The first learns; the second never does and would go on for hours. Nested and null as W&B's agents pass them.
SETTINGS = [
    {"optim": {"lr": 0.05, "clip_norm": None}, "trainer.steps": 18},
    {"optim": {"lr": 1e-12, "clip_norm": 1.0}, "trainer.steps": 100000},
]


def hyperband(runs, run):
    histories = {number: other.values("val/miou") for number, other in enumerate(runs.values())}
    number = list(runs).index(run.id)
    ladder = Ladder(EarlyTerminate(max_iter=9, s=1), Goal.maximize)
    ladder.keep(histories)
    return ladder.judge(number) is not None


@dataclass
class Swept:
    server: Server
    folder: Path
    status: int
    out: str
    err: str

    @property
    def result(self):
        return json.loads(self.out.splitlines()[-1])

    def run_folder(self, run):
        return self.folder / "runs" / f"wandb-{SWEEP}" / run


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    with Server(SETTINGS, stop=hyperband, resume=True) as server:
        environment = client_environment(
            folder,
            server.url,
            WANDB_API_KEY=KEY,
            DCNRUN_STORAGE=f"postgresql://dcnrun:{PASSWORD}@db.example.org/sweeps",
            WANDB_TAGS="mine",
        )
        overrides = [*TINY, "conv=standard"]
        overrides = [override for override in overrides if not override.startswith(("optim.", "trainer.steps="))]
        process = start_engine(folder, FILE, environment, *overrides, gpus=["0", "1"])
        out, err = process.communicate(timeout=200)
    return Swept(server, folder, process.returncode, out, err)


def steps(run: Run) -> list[int]:
    return [row["_step"] for row in run.history]


def logged(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_ends_and_names_the_sweep(swept):
    assert swept.status == 0, swept.err
    assert swept.result["sweep"] == f"{ENTITY}/rivers/{SWEEP}"
    assert swept.result["url"] == f"{swept.server.url}/{ENTITY}/rivers/sweeps/{SWEEP}"
    assert swept.result["url"] in swept.out
    assert [agent["gpu"] for agent in swept.result["agents"]] == ["0", "1"]
    assert len(swept.server.agents) == 2
    assert swept.server.unknown == []


@pytest.mark.slow
def test_the_server_is_given_the_file_and_the_overrides(swept):
    config = swept.server.config
    assert config["name"] == "tiny, but whole"
    assert config["metric"] == {"name": "val/miou", "goal": "maximize"}
    assert config["command"][:3] == ["${env}", "dcnrun", "train"]
    assert config["command"][-1] == "conv=standard"


@pytest.mark.slow
def test_the_first_run_completes(swept):
    run = swept.server.runs["run0"]
    assert (run.state, run.exit_codes, run.stops) == ("finished", [0], 0)
    assert (run.sweep, run.project) == (SWEEP, "rivers")
    assert set(run.tags) == {"mine", "dcnrun", "tiny  but whole", "standard", "deeplab", "shapes"}
    folder = swept.run_folder("run0")
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"
    assert (folder / "overrides.txt").read_text().splitlines()[:3] == [
        "optim.lr=0.05",
        "optim.clip_norm=null",
        "trainer.steps=18",
    ]


@pytest.mark.slow
def test_what_runs_logged_is_what_the_server_has(swept):
    for name, run in swept.server.runs.items():
        mine = [line["val/miou"] for line in logged(swept.run_folder(name)) if line["split"] == "val"]
        assert run.values("val/miou") == pytest.approx(mine)
        assert len(mine) >= 3


@pytest.mark.slow
def test_the_second_is_stopped_resumed_from_its_checkpoint_and_stopped_again(swept):
    run = swept.server.runs["run1"]
    assert (run.resumes, run.state) == (1, "killed")
    assert run.exit_codes == [255, 255]
    assert steps(run) == sorted(set(steps(run)))
    lines = [line["step"] for line in logged(swept.run_folder("run1")) if line["split"] == "train"]
    assert lines == [*range(1, len(lines) + 1)], "steps lost or done twice"
    assert json.loads((swept.run_folder("run1") / "summary.json").read_text())["status"] == "stopped"
    logs = "".join(Path(swept.folder, agent["log"]).read_text() for agent in swept.result["agents"])
    assert f"Resuming runs/wandb-{SWEEP}/run1 after step" in logs


@pytest.mark.slow
def test_no_secret_is_written_printed_or_sent(swept):
    basic = base64.b64encode(f"api:{KEY}".encode())
    assert swept.server.authorizations >= {f"Basic {basic.decode()}"}, "the key was in use"
    texts = {str(path): path.read_bytes() for path in swept.folder.rglob("*") if path.is_file()}
    texts |= {"standard output": swept.out.encode(), "standard error": swept.err.encode()}
    texts |= {f"sent {i}": body for i, body in enumerate(swept.server.bodies)}
    assert any(b"val/miou" in text for name, text in texts.items() if "/wandb/" in name), (
        "the search reaches W&B's files"
    )
    for secret in (KEY.encode(), basic, PASSWORD.encode()):
        assert [name for name, text in texts.items() if secret in text] == []
