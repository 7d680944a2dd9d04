"""Jobs, ledgers of fake runs, and agents for the tests."""

import multiprocessing
import sys
import time
from collections.abc import Callable, Collection, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dcnrun.jobs.database import sqlite_url
from dcnrun.jobs.ledger import Draw, Job, JobSpec, Ledger, State
from dcnrun.jobs.source import Judge, LedgerSource
from dcnrun.jobs.train import train_arguments
from dcnrun.jobs.worker import work
from tests.jobs import fakes

FAKE_RUN = (sys.executable, "-S", fakes.__file__)
METRIC = "val/score"


def draw(jobs: Sequence[Job]) -> JobSpec:
    return JobSpec((f"optim.lr={len(jobs)}",), {"optim.lr": len(jobs)}, f"trial-{len(jobs):04d}")


def draw_fake(jobs: Sequence[Job]) -> JobSpec:
    """A fake run of four steps whose value is its number."""
    number = len(jobs)
    return JobSpec((f"value={number}", "steps=4", "pause=0.02"), {"value": number}, f"trial-{number:04d}")


def cells(*folders: str) -> list[JobSpec]:
    """Jobs with these folders, as a grid has them."""
    return [JobSpec(("seed=0",), {}, folder) for folder in folders]


def command(job: Job, path: Path) -> list[str]:
    return [*FAKE_RUN, *train_arguments(path, job.overrides)]


def start_agent(storage: str, folder: Path, cap: int) -> BaseProcess:
    """Start an agent of fake runs as a process of its own, which has nothing left to import."""
    process = multiprocessing.get_context("fork").Process(target=_run_agent, args=(storage, folder, cap))
    process.start()
    return process


def _run_agent(storage: str, folder: Path, cap: int) -> None:
    ledger = Ledger.create(storage, "tune", "sweep", "", str(folder), cap, lost_after=1.0)
    work(LedgerSource(ledger, draw_fake), folder, command, metric=METRIC)


def wait_until(condition: Callable[[], object], seconds: float = 60, pause: float = 0.02) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(pause)


class Batch:
    """A ledger of fake runs with these settings, and their folders."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder
        self.url = sqlite_url(folder / "ledger.db")
        self.ledger = Ledger.create(self.url, "tune", "sweep", "", "", None, lost_after=2.4)
        self.ledger.add([JobSpec(tuple(words.split()), {}, f"trial-{i}") for i, words in enumerate(settings)])

    def source(self, **options: Any) -> LedgerSource:
        return LedgerSource(self.ledger, **options)

    def work(
        self,
        draw: Draw | None = None,
        judge: Judge | None = None,
        only: Collection[str] | None = None,
        **options: Any,
    ) -> list[Job]:
        source = self.source(draw=draw, judge=judge, only=only)
        return work(source, self.folder, command, metric=METRIC, **options)

    def starts(self, job: int = 0) -> list[str]:
        file = self.folder / f"trial-{job}" / "starts"
        return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []

    def process_of(self, job: int = 0) -> int:
        return int((self.folder / f"trial-{job}" / "starts").read_text().splitlines()[-1].split()[1])

    def states(self) -> list[State]:
        return [job.state for job in self.ledger.jobs()]
