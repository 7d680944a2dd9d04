"""The command line in processes of its own, as a terminal or torchrun starts it."""

import gc
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "dcnrun", *map(str, args)]


def start(*args: object, **options) -> subprocess.Popen:
    environment = os.environ | {"WANDB_MODE": "offline"}
    return subprocess.Popen(
        command(*args), env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


# A process that has imported what a run needs: whatever is forked from it starts at once.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["dcnrun.cli", "dcnrun.training.run"])


class Forked:
    """The command line in a process of its own that has nothing to import; of subprocess.Popen it has what tests use."""

    def __init__(self, *args: object, **environment: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._output = [Path(self._folder.name) / name for name in ("out", "err")]
        arguments = [*map(str, args)]
        self._process = FORKSERVER.Process(target=_run_command, args=(arguments, self._output, environment))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, ...]:
        self._process.join(timeout)
        assert self.returncode is not None, f"still at work after {timeout} s"
        return tuple(path.read_text() if path.exists() else "" for path in self._output)


def _run_command(arguments: list[str], output: list[Path], environment: dict[str, str]) -> None:
    from dcnrun.cli import main

    gc.freeze()  # what was imported before the fork, as the command itself does with its imports
    for path, descriptor in zip(output, (1, 2), strict=True):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    os.environ.update({"WANDB_MODE": "offline"} | environment)
    sys.argv = ["dcnrun", *arguments]
    main()


def finish(process: subprocess.Popen | Forked) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return str(free.getsockname()[1])


def under_torchrun(*args: object) -> None:
    """The command line in two processes that torchrun starts; they have little to import."""
    process = FORKSERVER.Process(target=_run_torchrun, args=(list(map(str, args)),))
    process.start()
    process.join(200)
    assert process.exitcode == 0


def _run_torchrun(arguments: list[str]) -> None:
    from torch.distributed.run import main

    from dcnrun import __main__ as program

    options = ["--nproc-per-node", "2", "--master-port", free_port(), "--start-method", "forkserver", "--run-path"]
    main([*options, program.__file__, *arguments])


def on_two_ranks(forked: Callable[..., Forked], *args: object) -> None:
    """The command line in two processes, as torchrun starts them."""
    both = {"MASTER_ADDR": "localhost", "MASTER_PORT": free_port(), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    both |= {"GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "none"}
    for process in [forked(*args, **both, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]:
        code, _, err = finish(process)
        assert code == 0, err
