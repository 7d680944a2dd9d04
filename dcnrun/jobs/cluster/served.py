"""The ledger behind an actor of Ray: agents on any node ask it, and the database is on the head node alone."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError

from dcnrun.errors import RunError
from dcnrun.jobs import owner as owners
from dcnrun.jobs.database import PATIENCE
from dcnrun.jobs.ledger import Draw, Job, Ledger, State
from dcnrun.jobs.source import JobSource, Judge, LedgerSource, Verdict
from dcnrun.jobs.train import log_of
from dcnrun.runs import RunFolder, write_bytes

Opened = tuple[Ledger, Draw | None, Judge | None, Collection[str] | None]
OpenJobs = Callable[[], Opened]
"""Returns the arguments of a `LedgerSource`, on the head node."""
CLAIMS = "claims"
"""The actor's threads for claims, of which one may draw for minutes while the others wait for it, as draws must anyway."""
FILES = "files"
"""The actor's thread for files of runs, of which some are large."""


class LedgerActor(LedgerSource):
    """The jobs of a ledger for agents on any node, with the guarantees of the ledger, whose code this is.

    Where it dies, Ray starts it again: all that counts is in the database.
    """

    def __init__(self, open_jobs: OpenJobs, folder: Path) -> None:
        """`folder` is that of the run folders on the head node."""
        ledger, draw, judge, only = open_jobs()
        super().__init__(ledger, draw, judge, only)
        self._folder = folder
        self._owners: dict[int, str] = {}
        self._is_closed = False

    def enrol(self, agent: int, owner: str) -> None:
        """Keep under which name an agent claims its jobs."""
        self._owners[agent] = owner

    def enrolled(self) -> list[int]:
        """Return the agents that are at work."""
        return list(self._owners)

    def leave(self, agent: int) -> None:
        """Forget an agent that ended by itself."""
        self._owners.pop(agent, None)

    def lose(self, agent: int) -> bool:
        """Have the job of an agent that died reassigned at the next claim; return whether it had come so far as to claim."""
        owner = self._owners.pop(agent, None)
        if owner is not None:
            self._ledger.lose(owner)
        return owner is not None

    def close(self) -> None:
        """Give out no job from now on, and let go of those that run: their agents hear it at the next heartbeat, and let them save."""
        self._is_closed = True

    def claim(self, owner: str) -> Job | None:
        """Claim from the ledger; None once closed."""
        return None if self._is_closed else super().claim(owner)

    def finish_and_claim(
        self, job: Job, owner: str, state: State, reason: str | None = None, band: int | None = None
    ) -> tuple[Job, Job | None]:
        """Record how a job ended, and claim from the ledger the next that is at hand; None once closed."""
        if self._is_closed:
            return JobSource.finish_and_claim(self, job, owner, state, reason, band)
        return super().finish_and_claim(job, owner, state, reason, band)

    def beat(self, job: Job, owner: str) -> bool:
        """Record a heartbeat; False once closed."""
        return super().beat(job, owner) and not self._is_closed

    def record(self, job: Job, owner: str, history: Sequence[tuple[int, float]]) -> bool:
        """Replace the job's history; False once closed."""
        return super().record(job, owner, history) and not self._is_closed

    def release_all(self) -> None:
        """Give back what agents that are still here hold."""
        for owner in tuple(self._owners.values()):
            self.release(owner)

    def release_orphans(self) -> None:
        """Give back the jobs of agents that ended with the command that started them: no fault of theirs, and no attempt."""
        for job in self.underway():
            if job.state is State.running and job.owner and not owners.is_alive(job.owner):
                self.release(job.owner)

    def files_of(self, job: Job) -> list[str]:
        """Return the names of the files that there are of a job's run."""
        return [str(path.relative_to(self._folder)) for path in run_files(self._folder / job.folder)]

    def read_file(self, name: str) -> bytes:
        """Return one of them."""
        return (self._folder / name).read_bytes()

    def write_file(self, job: Job, owner: str, name: str, content: bytes) -> bool:
        """Write one; False if the job was reassigned."""
        is_its_own = super().beat(job, owner)
        if is_its_own:
            write_bytes(self._folder / name, content)
        return is_its_own


class ServedSource(JobSource):
    """The jobs that a `LedgerActor` serves."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._lost_after: float = answer(actor.lost_after.remote())

    def lost_after(self) -> float:
        """Return the ledger's."""
        return self._lost_after

    def claim(self, owner: str) -> Job | None:
        """Claim a job; a new one is drawn on the head node."""
        job: Job | None = answer(self._actor.claim.options(concurrency_group=CLAIMS).remote(owner))
        return job

    def underway(self) -> list[Job]:
        """Return the jobs that wait or run."""
        jobs: list[Job] = answer(self._actor.underway.remote())
        return jobs

    def current(self, job: Job) -> Job:
        """Return a job as the ledger has it."""
        now: Job = answer(self._actor.current.remote(job))
        return now

    def beat(self, job: Job, owner: str) -> bool:
        """Record a heartbeat."""
        return bool(answer(self._actor.beat.remote(job, owner)))

    def record(self, job: Job, owner: str, history: Sequence[tuple[int, float]]) -> bool:
        """Replace the job's history."""
        return bool(answer(self._actor.record.remote(job, owner, history)))

    def judge(self, job: Job) -> Verdict | None:
        """Judge a job beside all others, on the head node."""
        verdict: Verdict | None = answer(self._actor.judge.remote(job))
        return verdict

    def finish(self, job: Job, owner: str, state: State, reason: str | None = None, band: int | None = None) -> bool:
        """Record how the job ended."""
        return bool(answer(self._actor.finish.remote(job, owner, state, reason, band)))

    def finish_and_claim(
        self, job: Job, owner: str, state: State, reason: str | None = None, band: int | None = None
    ) -> tuple[Job, Job | None]:
        """Record how the job ended, and claim the next that is at hand, in one call."""
        both: tuple[Job, Job | None] = answer(self._actor.finish_and_claim.remote(job, owner, state, reason, band))
        return both

    def release(self, owner: str, patience: float = PATIENCE) -> None:
        """Give back the job that an owner holds."""
        answer(self._actor.release.remote(owner, patience))


def run_files(run: Path) -> list[Path]:
    """Return the whole files of a run: in its folder, and what it printed beside it."""
    inside = [
        path for path in run.rglob("*") if not path.name.startswith(".") and path != RunFolder(run).previous_checkpoint
    ]
    return [path for path in (*inside, log_of(run)) if path.is_file()]


def answer(reference: Any) -> Any:
    """Return what the actor answers; RunError where it is gone for good."""
    try:
        return ray.get(reference)
    except RayActorError:
        raise RunError(
            "The ledger on the head node of the Ray cluster is gone: start the same command again."
        ) from None
