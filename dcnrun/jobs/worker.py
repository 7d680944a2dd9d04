"""An agent: it takes jobs from a ledger, or what stands before one, one after the other, and runs each as a process."""

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dcnrun.errors import RunError
from dcnrun.jobs.ledger import Job, State
from dcnrun.jobs.owner import this_process
from dcnrun.jobs.process import SECONDS_TO_SAVE, run_process, sigterm_as_interrupt
from dcnrun.jobs.source import JobSource, Verdict
from dcnrun.jobs.train import log_of, reason_of, train_job
from dcnrun.runs import CurveReader, RunFolder, require_regular

BEATS_BEFORE_LOST = 12  # one in 5 s
FAILURES_TO_GIVE_UP = 3
SECONDS_FOR_AN_ORPHAN = 600.0
_SECONDS_TO_RELEASE = 10.0
_SECONDS_BETWEEN_TRIES = 0.2
_SECONDS_BETWEEN_CLAIMS = 1.0


Command = Callable[[Job, Path], Sequence[str]]
"""Returns the command for a job in this run folder; a RunError that it raises is the job's failure."""


class Watcher:
    """Hears how the jobs of an agent go; this one does nothing with it."""

    def begins(self, job: Job) -> None:
        """A job was taken."""

    def looks(self, job: Job) -> None:
        """Its process runs; called twice a second."""

    def ends(self, job: Job) -> None:
        """A job that was taken has ended or, where it is still running, was reassigned."""

    def waits(self, jobs: Sequence[Job]) -> None:
        """Other agents run all that is left; called once each time."""


def work(
    source: JobSource,
    folder: Path,
    command: Command = train_job,
    *,
    metric: str | None = None,
    count: int | None = None,
    watcher: Watcher | None = None,
    gives_up: bool = True,
    waits: bool = True,
    seconds_to_save: float = SECONDS_TO_SAVE,
    environment: Mapping[str, str] | None = None,
) -> list[Job]:
    """Take jobs and run them until none is left, and return those that were taken, as they ended.

    None is left when none waits, none is drawn and none runs: while other agents run the last ones, this one waits, to
    resume them if an agent dies. A run that is judged to stop gets SIGTERM, and SIGKILL if it takes too long. A failed run, whatever
    killed it, does not affect the others; but if the first three fail, they probably share the cause: RunError, with the
    reasons. Ctrl-C and SIGTERM let the run save and give the job back; then KeyboardInterrupt is raised.

    Args:
        source: Where the jobs are.
        folder: The folder of their run folders on this machine.
        command: Returns the command that runs a job.
        metric: The metric that is recorded as a job's history.
        count: The most jobs to take.
        watcher: Hears how the jobs go.
        gives_up: Whether three failures at the start end the agent.
        waits: Whether it waits while other agents run the last jobs; otherwise it ends when there is none to take.
        seconds_to_save: The time that a run has to stop.
        environment: What its process finds in its environment, unless this one's has it already.
    """
    agent = _Agent(
        source, folder, command, this_process(), metric, watcher or Watcher(), seconds_to_save, environment or {}
    )
    with sigterm_as_interrupt():
        try:
            return _take_all(agent, count, gives_up, waits)
        except BaseException:
            with suppress(RunError):  # the database is away: the job will be found without a heartbeat
                source.release(agent.owner, _SECONDS_TO_RELEASE)
            raise


class _StopRequested(Exception):
    """The judge says that the run must stop."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict


class _Reassigned(Exception):
    """Another agent has the job."""


class _FolderLocked(Exception):
    """An orphan of the job did not end."""


class _Outcome(NamedTuple):
    state: State
    reason: str | None = None
    band: int | None = None


@dataclass(frozen=True)
class _Agent:
    """The arguments of `work` that every job needs."""

    source: JobSource
    folder: Path
    command: Command
    owner: str
    metric: str | None
    watcher: Watcher
    seconds_to_save: float
    environment: Mapping[str, str]


def _take_all(agent: _Agent, count: int | None, gives_up: bool, waits: bool) -> list[Job]:
    ended: list[Job] = []
    waiting = False
    job: Job | None = None
    while count is None or len(ended) < count:
        if job := job or agent.source.claim(agent.owner):
            waiting = False
            # before the third run of those that may all fail, or the last, nobody knows of a next
            has_next = len(ended) + 1 not in (FAILURES_TO_GIVE_UP, count)
            now, job = _run_job(agent, job, has_next)
            ended.append(now)
            if gives_up and len(ended) == FAILURES_TO_GIVE_UP and all(each.state is State.failed for each in ended):
                reasons = "\n".join(f"  {each.folder}: {each.reason}" for each in ended)
                raise RunError(
                    f"The first {len(ended)} runs of this agent failed, so that it starts no more:\n{reasons}"
                )
            continue
        underway = agent.source.underway() if waits else []
        if not underway:
            break
        if not waiting:
            agent.watcher.waits(underway)
        waiting = True
        time.sleep(_SECONDS_BETWEEN_CLAIMS)
    return ended


def _run_job(agent: _Agent, job: Job, has_next: bool) -> tuple[Job, Job | None]:
    """Run a job and record how it ended; return it as it stands now, and the agent's next job if it is to have one and it is at hand."""
    agent.watcher.begins(job)
    path = agent.folder / job.folder
    path.parent.mkdir(parents=True, exist_ok=True)
    now, following = None, None
    with closing(_Heartbeat(agent, job, path)) as heartbeat, suppress(_Reassigned):
        outcome = _outcome(agent, job, path, heartbeat)
        heartbeat.report()
        if has_next:
            now, following = agent.source.finish_and_claim(job, agent.owner, *outcome)
        else:
            agent.source.finish(job, agent.owner, *outcome)
    now = now or agent.source.current(job)
    agent.watcher.ends(now)
    return now, following


def _outcome(agent: _Agent, job: Job, path: Path, heartbeat: "_Heartbeat") -> _Outcome:
    try:
        with _locked_folder(path, heartbeat.beat) as lock:
            try:
                command = agent.command(job, path)
            except RunError as error:
                return _Outcome(State.failed, str(error))
            if RunFolder(path).is_completed():  # by a process whose agent died before it could say so
                return _Outcome(State.completed)
            return _run(agent, job, path, heartbeat, command, lock)
    except _FolderLocked as error:
        return _Outcome(State.failed, str(error))


def _run(agent: _Agent, job: Job, path: Path, heartbeat: "_Heartbeat", command: Sequence[str], lock: int) -> _Outcome:
    log = log_of(path)
    start_of_output = log.stat().st_size if log.exists() else 0
    began = time.time()

    def look() -> None:
        heartbeat.look()
        agent.watcher.looks(job)

    try:
        status = run_process(command, log, look, [lock], agent.seconds_to_save, agent.environment)
    except _StopRequested as request:
        if RunFolder(path).is_completed():  # it ended by itself in that moment
            return _completed(path)
        return _Outcome(State.stopped, request.verdict.reason, request.verdict.band)
    if status == 0 and RunFolder(path).is_completed():
        return _completed(path)
    return _Outcome(State.failed, reason_of(path, status, began, start_of_output))


def _completed(path: Path) -> _Outcome:
    """Return that a run is completed, with the reason where it ended before its last step."""
    return _Outcome(State.completed, RunFolder(path).read_summary().get("reason"))


class _Heartbeat:
    """Keeps a job's heartbeat and history in the ledger while it runs."""

    def __init__(self, agent: _Agent, job: Job, path: Path) -> None:
        self._agent = agent
        self._job = job
        self._reader = CurveReader(RunFolder(path), agent.metric) if agent.metric else None
        self._recorded: tuple[tuple[int, float], ...] | None = None
        self._beat_at = time.monotonic()
        self._seconds_between_beats = agent.source.lost_after() / BEATS_BEFORE_LOST

    def look(self) -> None:
        """Beat, record, and ask the judge after a new report; _Reassigned or _StopRequested if the process must end."""
        self.beat()
        if self.report() and self._recorded and (verdict := self._agent.source.judge(self._job)):
            raise _StopRequested(verdict)

    def beat(self) -> None:
        """Give a sign of life when one is due; _Reassigned if the job was reassigned."""
        if time.monotonic() - self._beat_at >= self._seconds_between_beats:
            if not self._agent.source.beat(self._job, self._agent.owner):
                raise _Reassigned
            self._beat_at = time.monotonic()

    def report(self) -> bool:
        """Record the history if it has changed, and return whether it has."""
        history = self._reader.read() if self._reader else None
        if history is None or history == self._recorded:
            return False
        if not self._agent.source.record(self._job, self._agent.owner, history):
            raise _Reassigned
        self._recorded = history
        return True

    def close(self) -> None:
        """Close the metrics."""
        if self._reader:
            self._reader.close()


@contextmanager
def _locked_folder(path: Path, meanwhile: Callable[[], None]) -> Iterator[int]:
    """Hold the lock of a run folder, and give its descriptor for the run's process to inherit.

    An orphan of a dead agent may still save there, and holds the lock until it ends. That is why it is `flock` by hand: a
    lock of `filelock` belongs to this process alone.
    """
    lock = path.with_name(f".{path.name}.lock")
    end = time.monotonic() + SECONDS_FOR_AN_ORPHAN
    if lock.exists():
        require_regular(lock)
    with lock.open("w") as file:
        while not _try_lock(file.fileno()):
            if time.monotonic() > end:
                raise _FolderLocked(f"another process has held {lock} for {SECONDS_FOR_AN_ORPHAN:.0f} s: end it")
            meanwhile()
            time.sleep(_SECONDS_BETWEEN_TRIES)
        yield file.fileno()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: there is nothing to wait for
        pass
    return True
