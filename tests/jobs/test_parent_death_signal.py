import subprocess
import sys
from pathlib import Path

import pytest

from dcnrun.jobs import parent_death_signal
from tests.jobs.factories import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a run continues without its agent")
SCRIPT = str(Path(parent_death_signal.__file__))
# Starts a command as an agent does, and dies by SIGKILL as soon as it runs.
PARENT = """
import os, subprocess, sys, time
from pathlib import Path
script, *command = sys.argv[1:]
subprocess.Popen([sys.executable, "-IS", script, str(os.getpid()), *command])
while not Path("running").exists():
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""
SAVES_WHEN_ASKED = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: sys.exit(Path("saved").touch()))
Path("running").touch()
time.sleep(60)
"""


def test_the_command_is_asked_to_stop_when_its_parent_was_killed(tmp_path):
    command = [sys.executable, "-S", "-c", SAVES_WHEN_ASKED]
    parent = subprocess.run([sys.executable, "-c", PARENT, SCRIPT, *command], cwd=tmp_path)
    assert parent.returncode == -9
    wait_until((tmp_path / "saved").exists)


def test_a_command_whose_parent_is_gone_already_is_not_started(tmp_path):
    command = [sys.executable, "-IS", SCRIPT, "1", "touch", str(tmp_path / "started")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is gone" in done.stderr
    assert not (tmp_path / "started").exists()
