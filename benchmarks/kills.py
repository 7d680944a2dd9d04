"""Kills training, comparisons and sweeps with SIGKILL at 200 random moments, and starts them again each time.

    python -m benchmarks.kills benchmarks/results/kills.json

Target: in the end everything is as if nothing had happened, bit for bit: weights, optimizer and random generators (Python's
too) in every checkpoint, the best network, results per image, metrics, and the ledgers' jobs; and no file is left behind.
What is timed, and who ran it, is left out. Killed is a process of the tree by chance: the command, an agent, or a run. The
moments follow from a fixed seed; networks are small, and every process is a fork that has nothing to import.
"""

import ctypes
import hashlib
import importlib
import json
import os
import pkgutil
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

import dcnrun.training.run
from dcnrun.bench.machine import describe
from dcnrun.jobs import process, supervisor
from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import Ledger
from dcnrun.jobs.train import PROGRAM, train_arguments
from dcnrun.runs import RunFolder
from tests.fakes import ForkedProcess, call_dcnrun, forking, is_dcnrun
from tests.training.factories import TINY, metrics

KILLS = {"train": 120, "compare": 40, "sweep": 40}
NETWORK = [*TINY, "trainer.steps=8", "trainer.save_every=1", "conv=deformable"]
COMPARISON = [*NETWORK[:-1], "conv=standard,deformable"]
SWEEP = {
    "method": "random",
    "metric": {"name": "val/miou", "goal": "maximize"},
    "run_cap": 2,
    "parameters": {"optim.offset_lr_mult": {"distribution": "log_uniform_values", "min": 0.01, "max": 1.0}},
    "command": ["${env}", "dcnrun", "train", *NETWORK, "${args_no_hyphens}"],
}
MOST_KILLS_OF_ONE = 15  # then it may end, and another is begun
ATTEMPTS = 4
TIMED = (
    "clock",
    "per_second",
    "wait_share",
    "seconds",
    "memory",
    "time",
    "run",
    "resumed",
    "command",
    "host",
    "started",
    "ended",
)
OF_AN_AGENT = ("owner", "attempts", "started", "ended", "beat")

Fingerprint = dict[str, str]


def call(folder: Path, command: list[str]) -> None:
    """What a fork does: the command line in a folder of its own, with random generators that nothing has seeded."""
    os.chdir(folder)
    np.random.seed()
    torch.seed()
    call_dcnrun(command)


def digest(value: Any) -> str:
    """A hash of tensors, arrays and plain values, bit for bit."""
    found = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, Mapping):
            for key in sorted(part, key=repr):
                found.update(repr(key).encode())
                add(part[key])
        elif isinstance(part, list | tuple):
            found.update(f"{len(part)}".encode())
            for each in part:
                add(each)
        elif isinstance(part, torch.Tensor | np.ndarray):
            array = part.numpy() if isinstance(part, torch.Tensor) else part
            found.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        else:
            found.update(repr(part).encode())

    add(value)
    return found.hexdigest()


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if not any(word in str(key) for word in TIMED)}
    return value


def of_run(path: Path) -> Fingerprint:
    folder = RunFolder(path)
    found = {}
    for file in sorted((path / "checkpoints").iterdir()):
        for part, value in without_times(torch.load(file, weights_only=True, map_location="cpu")).items():
            found[f"{file.name} {part}"] = digest(value)
    with np.load(folder.per_image_file) as arrays:
        found["per_image.npz"] = digest({name: arrays[name] for name in arrays.files})
    found["metrics.jsonl"] = digest(metrics(path))
    found["summary.json"] = digest(without_times(folder.read_summary()))
    found["overrides.txt"] = digest(folder.overrides_file.read_text())
    return found


def of_ledgers(file: Path) -> Fingerprint:
    """Every job of every batch, by its folder."""
    url = sqlite_url(file)
    with closing(sqlite3.connect(file)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM dcnrun_batches")]
    jobs = [job for name in names for job in Ledger.open(url, name).jobs()]
    return {
        f"ledger {job.folder}": digest({k: v for k, v in vars(job).items() if k not in OF_AN_AGENT}) for job in jobs
    }


def of_folder(folder: Path) -> Fingerprint:
    """What is in the folder of a run, a comparison or a sweep, by the names of its parts."""
    runs = [config.parent for config in sorted(folder.rglob("config.yaml"))]
    found = {f"{run.relative_to(folder)} {part}": value for run in runs for part, value in of_run(run).items()}
    if (folder / "ledger.db").exists():
        found |= of_ledgers(folder / "ledger.db")
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    return found | {f"file {file}": "" for file in files}


class Subject:
    """A command that is killed and started again, and what it leaves when it is not."""

    def __init__(self, name: str, arguments: Callable[[Path], list[str]], folder: Path) -> None:
        self.name = name
        self.arguments = arguments
        self.folder = folder
        self.rng = random.Random(name)
        self.killed: Counter[str] = Counter()  # how often: the command, or a process below it
        self.different: Counter[str] = Counter()  # in how many folders: parts that are not as without kills
        self.seconds = 1.0
        self.result("first", 0)
        began = time.monotonic()
        self.whole = self.result("whole", 0)
        self.seconds = time.monotonic() - began

    def result(self, name: str, kills: int) -> Fingerprint:
        """Run it to its end in a folder of its own, killed so often on the way, and return what is there then."""
        out, log = self.folder / f"{self.name}-{name}" / "out", self.folder / f"{self.name}.log"
        out.parent.mkdir()

        def fork() -> ForkedProcess:
            return ForkedProcess([*PROGRAM, *self.arguments(out)], log, os.environ, partial(call, out.parent))

        while kills > 0:
            running = fork()
            time.sleep(self.rng.uniform(0, self.seconds / 3))  # what was done before is not done again
            if running.poll() is not None:
                break
            self.killed[self.kill(running)] += 1
            kills -= 1
            running.wait(300)
            wait_for_orphans()
        for _attempt in range(ATTEMPTS):  # what was killed below a command that went on has failed, and is tried again
            running = fork()
            if running.wait(600) == 0 and is_complete(out):
                return of_folder(out)
        raise RuntimeError(f"{self.name} did not end well: {log.read_text()[-3000:]}")

    def kill(self, running: ForkedProcess) -> str:
        """Kill the command or a process below it, by chance; return which."""
        with suppress(psutil.NoSuchProcess):
            chosen = self.rng.choice([None, *psutil.Process(running.pid).children(recursive=True)])
            if chosen is not None:
                chosen.kill()
                return "a process below it"
        running.kill()
        return "the command"

    def kill_often(self, kills: int) -> None:
        """Kill it so often altogether, a few times in each folder, and note what differs in the end."""
        number = 0
        while (left := kills - self.killed.total()) > 0:
            found = self.result(str(number), min(left, MOST_KILLS_OF_ONE))
            parts = found.keys() | self.whole.keys()
            self.different.update(part for part in parts if found.get(part) != self.whole.get(part))
            number += 1
            print(self.name, dict(self.killed), dict(self.different), flush=True)

    def as_json(self) -> dict[str, Any]:
        files = sum(part.startswith("file ") for part in self.whole)
        return {
            "kills": self.killed.total(),
            "killed": dict(self.killed),
            "seconds_without_kills": round(self.seconds, 1),
            "parts_compared": len(self.whole) - files,
            "files_expected": files,
            "different": dict(self.different),
        }


def wait_for_orphans() -> None:
    """Wait until what the killed command had started is gone: it is asked to stop by the kernel, and saves."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def is_complete(out: Path) -> bool:
    """Whether every run in the folder is completed."""
    return all(RunFolder(config.parent).is_completed() for config in out.rglob("config.yaml"))


def train(out: Path) -> list[str]:
    return train_arguments(out, NETWORK)


def compare(out: Path) -> list[str]:
    return ["compare", *COMPARISON, "--out", str(out)]


def sweep(out: Path) -> list[str]:
    file = out.parent / "sweep.yaml"
    file.write_text(json.dumps(SWEEP))
    return ["sweep", str(file), "--out", str(out), "--retry-failed"]


def main() -> None:
    for module in pkgutil.walk_packages(dcnrun.__path__, "dcnrun."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)  # else each fork does
    become_subreaper()
    process.start_process = supervisor.start_process = forking(partial(call, Path()), is_dcnrun)
    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=40"], capture_output=True, text=True)
    found: dict[str, Any] = {"machine": describe(), "commit": commit.stdout.strip()}
    with tempfile.TemporaryDirectory() as folder:
        for arguments in (train, compare, sweep):
            subject = Subject(arguments.__name__, arguments, Path(folder))
            subject.kill_often(KILLS[subject.name])
            found[subject.name] = subject.as_json()
    Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    sys.exit("Not all is as without kills." if any(found[name]["different"] for name in KILLS) else 0)


def become_subreaper() -> None:
    """Become the parent of orphans, to see when they are gone."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER of <linux/prctl.h>


if __name__ == "__main__":
    main()
