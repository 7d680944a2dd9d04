"""What an agent does: takes jobs from a ledger, one after the other, and sees each through as a process."""

import fcntl
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dcnrun.errors import RunError
from dcnrun.jobs.ledger import Draw, Job, Ledger, State
from dcnrun.jobs.metrics import MetricReader
from dcnrun.jobs.owner import this_process
from dcnrun.jobs.process import run_process, sigterm_as_interrupt
from dcnrun.jobs.train import is_completed, log_of, reason_of, train_job
from dcnrun.runs import RunFolder

BEATS_BEFORE_LOST = 12  # one in 5 s
FAILURES_TO_GIVE_UP = 3
SECONDS_FOR_AN_ORPHAN = 600.0
_SECONDS_TO_RELEASE = 10.0
_SECONDS_BETWEEN_TRIES = 0.2
_SECONDS_BETWEEN_CLAIMS = 1.0


@dataclass(frozen=True)
class Verdict:
    """A run that goes on is not worth it: why, and the band at which that was found."""

    reason: str
    band: int | None = None


Command = Callable[[Job, Path], Sequence[str]]
"""The command for a job in this run folder; a RunError that it raises is the job's failure."""
Judge = Callable[[Sequence[Job], Job], Verdict | None]
"""Whether a run must stop, given all jobs and itself after a new report."""


class Watcher:
    """Is told how the jobs of an agent go; this one keeps it to itself."""

    def begins(self, job: Job) -> None:
        """A job was taken."""

    def looks(self, job: Job) -> None:
        """Its process runs; called twice a second."""

    def ends(self, job: Job) -> None:
        """A job that was taken, as it is now: it has ended, or, still running, another agent took it over."""

    def waits(self, jobs: Sequence[Job]) -> None:
        """Nothing is to be had but what others still run; called once each time."""


def work(
    ledger: Ledger,
    folder: Path,
    command: Command = train_job,
    *,
    metric: str | None = None,
    draw: Draw | None = None,
    judge: Judge | None = None,
    count: int | None = None,
    only: Collection[str] | None = None,
    watcher: Watcher | None = None,
    gives_up: bool = True,
) -> list[Job]:
    """Take jobs (with `only`, of these folders alone) and run them in `folder` until `count` were taken or none is left.

    The jobs are returned as they ended. None is left when none waits, none is drawn and none runs: while other agents
    run the last ones, this one waits, to go on with them if an agent dies. `metric` is what is recorded as a job's
    history. A run that is judged to stop gets SIGTERM, and 30 s later SIGKILL. One that fails, whatever killed it,
    touches no other; but RunError, with the reasons, when the first three that it took fail, since something is wrong then
    that all share; not with `gives_up` False. Ctrl-C and SIGTERM let the run save, give the job back, and go on as
    KeyboardInterrupt.
    """
    agent = _Agent(ledger, folder, command, this_process(), metric, judge, watcher or Watcher())
    with sigterm_as_interrupt():
        try:
            return _take_all(agent, draw, count, only, gives_up)
        except BaseException:
            with suppress(RunError):  # the database is away: the job will be found without a heartbeat
                ledger.release(agent.owner, _SECONDS_TO_RELEASE)
            raise


class _Enough(Exception):
    """The judge says that the run must stop."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict


class _NotOurs(Exception):
    """Another agent has the job."""


class _Held(Exception):
    """An orphan of the job did not end."""


@dataclass(frozen=True)
class _Outcome:
    """How a job ended."""

    state: State
    reason: str | None = None
    band: int | None = None


@dataclass(frozen=True)
class _Agent:
    """What stays the same over its jobs."""

    ledger: Ledger
    folder: Path
    command: Command
    owner: str
    metric: str | None
    judge: Judge | None
    watcher: Watcher


def _take_all(
    agent: _Agent, draw: Draw | None, count: int | None, only: Collection[str] | None, gives_up: bool
) -> list[Job]:
    ended: list[Job] = []
    waiting = False
    while count is None or len(ended) < count:
        job = agent.ledger.claim(agent.owner, draw, only)
        if job is None:
            at_work = [job for job in agent.ledger.jobs() if _may_come(job, only)]
            if not at_work:
                break
            if not waiting:
                agent.watcher.waits(at_work)
            waiting = True
            time.sleep(_SECONDS_BETWEEN_CLAIMS)
            continue
        waiting = False
        ended.append(_see_through(agent, job))
        if gives_up:
            _give_up_if_all_failed(ended)
    return ended


def _may_come(job: Job, only: Collection[str] | None) -> bool:
    """Whether this may still be a job for us: others may die, or give it back."""
    return job.state in (State.waiting, State.running) and (only is None or job.folder in only)


def _give_up_if_all_failed(ended: Sequence[Job]) -> None:
    if len(ended) == FAILURES_TO_GIVE_UP and all(job.state is State.failed for job in ended):
        reasons = "\n".join(f"  {job.folder}: {job.reason}" for job in ended)
        raise RunError(f"The first {len(ended)} runs of this agent failed, so that it starts no more:\n{reasons}")


def _see_through(agent: _Agent, job: Job) -> Job:
    """Run a job to whatever end, and write that down."""
    agent.watcher.begins(job)
    path = agent.folder / job.folder
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(_Pulse(agent, job, path)) as pulse, suppress(_NotOurs):
        outcome = _outcome(agent, job, path, pulse)
        pulse.report()
        agent.ledger.finish(job, agent.owner, outcome.state, outcome.reason, outcome.band)
    now = agent.ledger.jobs()[job.number]
    agent.watcher.ends(now)
    return now


def _outcome(agent: _Agent, job: Job, path: Path, pulse: "_Pulse") -> _Outcome:
    try:
        with _alone_with(path, pulse.beat) as lock:
            try:
                command = agent.command(job, path)
            except RunError as error:
                return _Outcome(State.failed, str(error))
            if is_completed(path):  # by a process whose agent did not live to say so
                return _Outcome(State.completed)
            return _run(agent, job, path, pulse, command, lock)
    except _Held as held:
        return _Outcome(State.failed, str(held))


def _run(agent: _Agent, job: Job, path: Path, pulse: "_Pulse", command: Sequence[str], lock: int) -> _Outcome:
    log = log_of(path)
    start_of_output = log.stat().st_size if log.exists() else 0
    began = time.time()

    def look() -> None:
        pulse.look()
        agent.watcher.looks(job)

    try:
        status = run_process(command, log, look, keep_open=[lock])
    except _Enough as enough:
        if is_completed(path):  # it came to its end in that moment
            return _Outcome(State.completed)
        return _Outcome(State.stopped, enough.verdict.reason, enough.verdict.band)
    if status == 0 and is_completed(path):
        return _Outcome(State.completed)
    return _Outcome(State.failed, reason_of(path, status, began, start_of_output))


class _Pulse:
    """Keeps a job's heartbeat and history in the ledger while it runs."""

    def __init__(self, agent: _Agent, job: Job, path: Path) -> None:
        self._agent = agent
        self._job = job
        self._reader = MetricReader(RunFolder(path).metrics_file, agent.metric) if agent.metric else None
        self._recorded: tuple[tuple[int, float], ...] | None = None
        self._beat_at = time.monotonic()

    def look(self) -> None:
        """Beat, record, and ask the judge after a new report; _NotOurs or _Enough if the process must end."""
        self.beat()
        if self.report() and self._recorded and self._agent.judge:
            jobs = self._agent.ledger.jobs()
            verdict = self._agent.judge(jobs, jobs[self._job.number])
            if verdict is not None:
                raise _Enough(verdict)

    def beat(self) -> None:
        """Give a sign of life when one is due; _NotOurs if the job was taken over."""
        if time.monotonic() - self._beat_at >= _seconds_between_beats(self._agent.ledger):
            if not self._agent.ledger.beat(self._job, self._agent.owner):
                raise _NotOurs
            self._beat_at = time.monotonic()

    def report(self) -> bool:
        """Record the history if it is another than before."""
        history = self._reader.read() if self._reader else None
        if history is None or history == self._recorded:
            return False
        if not self._agent.ledger.record(self._job, self._agent.owner, history):
            raise _NotOurs
        self._recorded = history
        return True

    def close(self) -> None:
        """Let go of the metrics."""
        if self._reader:
            self._reader.close()


@contextmanager
def _alone_with(path: Path, meanwhile: Callable[[], None]) -> Iterator[int]:
    """The lock of a run folder, which its process inherits: an orphan of a dead agent may still save there."""
    lock = path.with_name(f".{path.name}.lock")
    end = time.monotonic() + SECONDS_FOR_AN_ORPHAN
    with lock.open("w") as file:
        while not _locked(file.fileno()):
            if time.monotonic() > end:
                raise _Held(f"another process has held {lock} for {SECONDS_FOR_AN_ORPHAN:.0f} s: end it")
            meanwhile()
            time.sleep(_SECONDS_BETWEEN_TRIES)
        yield file.fileno()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: nothing there can be waited for
        return True
    return True


def _seconds_between_beats(ledger: Ledger) -> float:
    return ledger.lost_after / BEATS_BEFORE_LOST
