"""Where an agent takes its jobs and says how they go: a ledger, or what stands before one on another machine."""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from dcnrun.jobs.database import PATIENCE
from dcnrun.jobs.ledger import Changes, Draw, Job, Ledger, State


@dataclass(frozen=True)
class Verdict:
    """Why a run must stop, and the band at which it was judged."""

    reason: str
    band: int | None = None


Judge = Callable[[Changes, Job], Verdict | None]
"""Returns whether a run must stop, given what has changed since it was last asked, and the job after a new report."""


class JobSource(Protocol):
    """What an agent asks of whoever has its jobs; the guarantees are the ledger's, at the top of `dcnrun.jobs.ledger`."""

    def lost_after(self) -> float:
        """Return the seconds without a heartbeat after which a job is reassigned."""

    def claim(self, owner: str) -> Job | None:
        """Give an agent its next job, now running as its own; None if there is none to take."""

    def underway(self) -> list[Job]:
        """Return the jobs that wait or run, at whichever agent."""

    def current(self, job: Job) -> Job:
        """Return a job as it stands now; itself where its row is gone."""

    def beat(self, job: Job, owner: str) -> bool:
        """Record a heartbeat; False if the job was reassigned."""

    def record(self, job: Job, owner: str, history: Sequence[tuple[int, float]]) -> bool:
        """Replace the job's history; False if the job was reassigned."""

    def judge(self, job: Job) -> Verdict | None:
        """Return why a job that has just reported must stop; None lets it continue."""

    def finish(self, job: Job, owner: str, state: State, reason: str | None = None, band: int | None = None) -> bool:
        """Record how the job ended; False if it was reassigned."""

    def finish_and_claim(
        self, job: Job, owner: str, state: State, reason: str | None = None, band: int | None = None
    ) -> tuple[Job, Job | None]:
        """Record how the job ended, and return it as it stands now, and the agent's next job.

        None where there is none or it is not at hand: `claim` is then to be asked, which may take its time. A job that was
        reassigned stands as its new owner has it.
        """
        self.finish(job, owner, state, reason, band)
        return self.current(job), None

    def release(self, owner: str, patience: float = PATIENCE) -> None:
        """Give back the job that an owner holds, after a clean interrupt."""


class LedgerSource(JobSource):
    """The jobs of a ledger, with what draws new ones and judges those that run."""

    def __init__(
        self, ledger: Ledger, draw: Draw | None = None, judge: Judge | None = None, only: Collection[str] | None = None
    ) -> None:
        """Take jobs from a ledger.

        Args:
            ledger: Where the jobs are.
            draw: Draws a new job when none waits; without it, only jobs in the ledger are taken.
            judge: Decides after each new report whether the run must stop.
            only: Take only jobs of these run folders.
        """
        self._ledger = ledger
        self._draw = draw
        self._judge = judge
        self._only = only
        self._judging = threading.Lock()  # what has changed is told once, and in order
        self._readings = 0  # that were begun for judgements

    def lost_after(self) -> float:
        """Return the ledger's."""
        return self._ledger.lost_after

    def claim(self, owner: str) -> Job | None:
        """Claim from the ledger, which draws where no job waits."""
        return self._ledger.claim(owner, self._draw, self._only)

    def underway(self) -> list[Job]:
        """Return the jobs that wait or run, of those that may be taken."""
        mine = (job for job in self._ledger.jobs() if self._only is None or job.folder in self._only)
        return [job for job in mine if job.state in (State.waiting, State.running)]

    def current(self, job: Job) -> Job:
        """Return a job as the ledger has it."""
        return self._ledger.job(job.number) or job

    def beat(self, job: Job, owner: str) -> bool:
        """Record a heartbeat."""
        return self._ledger.beat(job, owner)

    def record(self, job: Job, owner: str, history: Sequence[tuple[int, float]]) -> bool:
        """Replace the job's history."""
        return self._ledger.record(job, owner, history)

    def judge(self, job: Job) -> Verdict | None:
        """Judge a job beside all others."""
        if self._judge is None:
            return None
        before = self._readings
        with self._judging:
            changes = Changes([], are_all=False)
            if self._readings == before:  # else another has read the ledger for this one too, while it waited
                self._readings += 1
                changes = self._ledger.changes()
            return self._judge(changes, self._ledger.last_read(job))

    def finish(self, job: Job, owner: str, state: State, reason: str | None = None, band: int | None = None) -> bool:
        """Record how the job ended."""
        return self._ledger.finish(job, owner, state, reason, band)

    def finish_and_claim(
        self, job: Job, owner: str, state: State, reason: str | None = None, band: int | None = None
    ) -> tuple[Job, Job | None]:
        """Record how the job ended and claim the next, in one transaction of the ledger."""
        return self._ledger.finish_and_claim(job, owner, state, reason, band, self._draw, self._only)

    def release(self, owner: str, patience: float = PATIENCE) -> None:
        """Give back the job that an owner holds."""
        self._ledger.release(owner, patience)
