import os
import sys

import pytest

from dcnrun.jobs.owner import is_alive, this_process
from dcnrun.jobs.process import last_lines, run_process
from tests.jobs.factories import wait_until

LEADER = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
rank = "import time; from dcnrun.jobs.owner import this_process; print(this_process(), flush=True); time.sleep(100)"
subprocess.Popen([sys.executable, "-c", rank], start_new_session=True).wait()
"""


def test_the_exit_status_and_the_end_of_what_was_printed(tmp_path):
    log = tmp_path / "log"
    log.write_text("of an earlier run\n")
    start = log.stat().st_size
    script = "import sys; print('\\n'.join('abcdefg')); print(); sys.exit('h')"
    assert run_process([sys.executable, "-c", script], log) == 1
    assert last_lines(log, start) == "d e f g h"
    assert log.read_text().startswith("of an earlier run\na\n")


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_the_log_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "log")
    with pytest.raises(OSError, match="it is no file"):
        run_process([sys.executable, "-c", ""], tmp_path / "log")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the process itself is killed")
def test_a_process_that_does_not_stop_is_killed_with_what_it_started(tmp_path):
    log = tmp_path / "log"

    def look():
        if log.read_text().endswith("\n"):
            raise TimeoutError

    with pytest.raises(TimeoutError):
        run_process([sys.executable, "-c", LEADER], log, look, seconds_to_save=0.2)
    rank = log.read_text().strip()
    assert rank.split(":")[0] == this_process().split(":")[0]
    wait_until(lambda: is_alive(rank) is False)
