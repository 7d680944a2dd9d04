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
# Says what was dialled or started; without those there is nothing to wait for.
WATCHED = """
import json, sys, time
from dcnrun.errors import UsageError
events = []
sys.addaudithook(lambda event, _: events.append(event) if event in ("socket.connect", "socket.getaddrinfo") else None)
started = time.process_time()
from dcnrun.sweep.wandb_engine.login import require_login
try:
    require_login()
except UsageError as error:
    message = str(error)
import wandb
service = wandb.sdk.wandb_setup.singleton()._connection
print(json.dumps([message, events, service is not None, time.process_time() - started]))
"""


def watched(tmp_path, **environment):
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        env=client_environment(tmp_path, "http://127.0.0.1:9", **environment),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "there is none: run `wandb login`"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "W&B is offline here"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "disabled"}, "W&B is disabled here"),
        ({"WANDB_API_KEY": "tooshort"}, "refuses the login"),
    ],
)
def test_says_at_once_that_it_cannot(tmp_path, environment, says):
    message, dialled, has_service, seconds = watched(tmp_path, **environment)
    assert says in message
    assert "local engine needs no account" in message
    assert dialled == []
    assert not has_service
    assert seconds < 2


def test_a_settings_file_that_says_offline_is_seen(tmp_path):
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "settings").write_text("[default]\nmode = offline\n")
    message, dialled, _, _ = watched(tmp_path, WANDB_API_KEY=KEY)
    assert "W&B is offline here" in message
    assert dialled == []


def test_a_key_that_the_server_does_not_know(tmp_path):
    with Server(knows_the_key=False) as server:
        process = start_engine(tmp_path, FILE, client_environment(tmp_path, server.url, WANDB_API_KEY=KEY))
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "UsageError: Weights & Biases refuses the login" in err
    assert "wandb login --relogin" in err
    assert server.config == {}, "no sweep was made"
    assert KEY not in out + err
