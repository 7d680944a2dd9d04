"""Runs a command that is asked to stop when its parent dies: `python -IS parent_death_signal.py PARENT_PID COMMAND...`.

A training run must not continue unseen after the agent that started it was killed. On Linux the kernel sends SIGTERM
when the parent dies, and the run saves and stops; elsewhere this only runs the command. It is a script of its own
because calling prctl in a process with threads, between fork and exec, can deadlock.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> None:
    """Become the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):
            sys.exit("The process that started this run is gone.")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
