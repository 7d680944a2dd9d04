"""Where W&B can't be asked, the engine says so at once."""

import json
import subprocess
import sys

import pytest

from tests.sweep.wandb.driving import KEY, client_environment, start_engine
from tests.sweep.wandb.standin import Server

FILE = """
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
WATCHED = """
import json, os, sys, time
import wandb
from dcnrun.errors import UsageError
from dcnrun.sweep.wandb_engine.login import require_login
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
    print(json.dumps([message, events, service is not None, imported + time.process_time()]), flush=True)
for environment in json.loads(sys.argv[1]):
    if os.fork() == 0:
        os.environ.update(environment)
        watch()
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """What require_login says in each case, what it dialled, whether it started W&B's service, and the seconds it took."""
    environments = []
    for environment, settings, _ in CASES.values():
        folder = tmp_path_factory.mktemp("client")
        (folder / "client").mkdir()
        if settings:
            (folder / "client" / "settings").write_text(settings)
        environments.append(client_environment(folder, "http://127.0.0.1:9", **environment))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, json.dumps(environments)],
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
    message, dialled, has_service, seconds = watched[case]
    assert CASES[case][2] in message
    assert "local engine needs no account" in message
    assert dialled == []
    assert not has_service
    assert seconds < 2


def test_a_key_that_the_server_does_not_know(tmp_path):
    with Server(knows_the_key=False) as server:
        process = start_engine(tmp_path, FILE, client_environment(tmp_path, server.url, WANDB_API_KEY=KEY))
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "UsageError: Weights & Biases refuses the login" in err
    assert "wandb login --relogin" in err
    assert server.config == {}, "no sweep was made"
    assert KEY not in out + err
