import subprocess
import sys
from pathlib import Path

import pytest

from dcnrun.jobs import parent_death_signal
from dcnrun.jobs.process import asked_to_stop_with_its_parent
from tests.jobs.factories import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a run continues without its agent")
SCRIPT = (sys.executable, "-IS", str(Path(parent_death_signal.__file__)))
# The second where there is `setpriv`.
BOTH = pytest.mark.parametrize("start", {SCRIPT, asked_to_stop_with_its_parent()})
# Starts a command as an agent does, and dies by SIGKILL as soon as it runs.
PARENT = """
import os, subprocess, sys, time
from pathlib import Path
number, *words = sys.argv[1:]
start, command = words[: int(number)], words[int(number) :]
subprocess.Popen([*start, str(os.getpid()), *command])
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


@BOTH
def test_the_command_is_asked_to_stop_when_its_parent_was_killed(tmp_path, start):
    command = [str(len(start)), *start, sys.executable, "-S", "-c", SAVES_WHEN_ASKED]
    parent = subprocess.run([sys.executable, "-S", "-c", PARENT, *command], cwd=tmp_path)
    assert parent.returncode == -9
    wait_until((tmp_path / "saved").exists)


@BOTH
def test_a_command_whose_parent_is_gone_already_is_not_started(tmp_path, start):
    command = [*start, "1", "touch", str(tmp_path / "started")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is gone" in done.stderr
    assert not (tmp_path / "started").exists()
