"""Stand-ins that the tests of any part may use."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOLD = """
import pathlib, sys
from dcnrun.runs import locked
with locked(pathlib.Path(sys.argv[1]), "busy", shared=sys.argv[2] == "shared"):
    print(flush=True)
    sys.stdin.read()
"""


@contextmanager
def locked_elsewhere(file: Path, shared: bool = False) -> Iterator[None]:
    """Another process holds the lock of a file."""
    command = [sys.executable, "-c", _HOLD, file, "shared" if shared else "alone"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"\n"
        yield
        other.communicate()
