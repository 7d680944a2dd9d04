"""Run folders on the disk of each node, where nodes share none: copied to the head node's, through Ray's object store."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from dcnrun.errors import UsageError
from dcnrun.jobs.cluster.served import FILES, ServedSource, answer, run_files
from dcnrun.jobs.database import PATIENCE
from dcnrun.jobs.ledger import Job, State
from dcnrun.runs import CheckpointChoice, RunFolder, locked, write_bytes

Signature = tuple[int, int]
_PREFIX, _LOCK = "dcnrun-runs-", ".lock"
_SECONDS_TO_LOCK = 60.0


@contextmanager
def folder_on_this_node() -> Iterator[Path]:
    """Give an agent a folder for its runs on this node's disk, and delete those that agents left which were killed."""
    for left in Path(gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError, UsageError):
            if time.time() - left.stat().st_mtime > _SECONDS_TO_LOCK:
                with locked(left / _LOCK, "an agent is at work there"):
                    shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=_PREFIX) as own, locked(Path(own) / _LOCK, "an agent is at work there"):
        yield Path(own)


class CopyingSource(ServedSource):
    """Jobs whose run folders are on this node, as far as they go on here.

    What a run has saved elsewhere is fetched before it starts. It is sent to the head node after each new checkpoint, and once more
    before the job is over or given back, so that what the ledger says of a run is never ahead of its folder.
    """

    def __init__(self, actor: Any, folder: Path) -> None:
        super().__init__(actor)
        self._folder = folder
        self._job: Job | None = None
        self._sent: dict[str, Signature] = {}

    def claim(self, owner: str) -> Job | None:
        """Claim a job, and fetch what there is of its run."""
        if self._job is not None:
            self._send(self._job, owner)  # of one that was let go, what it saved
        return self._fetch(super().claim(owner))

    def beat(self, job: Job, owner: str) -> bool:
        """Record a heartbeat, and send a new checkpoint."""
        return super().beat(job, owner) and self._send_new(job, owner)

    def record(self, job: Job, owner: str, history: Sequence[tuple[int, float]]) -> bool:
        """Replace the job's history, and send a new checkpoint."""
        return super().record(job, owner, history) and self._send_new(job, owner)

    def finish(self, job: Job, owner: str, state: State, reason: str | None = None, band: int | None = None) -> bool:
        """Send the run, and record how the job ended."""
        return self._send(job, owner) and super().finish(job, owner, state, reason, band)

    def finish_and_claim(
        self, job: Job, owner: str, state: State, reason: str | None = None, band: int | None = None
    ) -> tuple[Job, Job | None]:
        """Send the run, record how the job ended, claim the next, and fetch what there is of its run."""
        if not self._send(job, owner):
            return self.current(job), None
        now, following = super().finish_and_claim(job, owner, state, reason, band)
        if following is not None:
            self._fetch(following)
        return now, following

    def release(self, owner: str, patience: float = PATIENCE) -> None:
        """Send the run, and give its job back."""
        if self._job is not None:
            self._send(self._job, owner)
        super().release(owner, patience)

    def _fetch(self, job: Job | None) -> Job | None:
        """Fetch what there is of a job's run, in place of that of the last one."""
        if self._job is not None:
            shutil.rmtree(self._folder / self._job.folder, ignore_errors=True)
        self._job, self._sent = job, {}
        if job is not None:
            for name in answer(_of_files(self._actor.files_of).remote(job)):
                write_bytes(self._folder / name, answer(_of_files(self._actor.read_file).remote(name)))
            self._sent = dict(self._files())
        return job

    def _send_new(self, job: Job, owner: str) -> bool:
        """Send what is new if a checkpoint is; False if the job was reassigned."""
        last = RunFolder(self._folder / job.folder).checkpoint(CheckpointChoice.last)
        name = str(last.relative_to(self._folder))
        return self._send(job, owner) if last.exists() and self._sent.get(name) != _signature(last) else True

    def _send(self, job: Job, owner: str) -> bool:
        """Send what is new of the run, checkpoints read first and written last: of a run that is resumed, metrics may be newer, not older."""
        files = dict(self._files())
        new = [name for name, signature in files.items() if self._sent.get(name) != signature]
        contents = {name: (self._folder / name).read_bytes() for name in sorted(new, key=_is_no_checkpoint)}
        for name in sorted(new, key=_is_no_checkpoint, reverse=True):
            if not answer(_of_files(self._actor.write_file).remote(job, owner, name, contents[name])):
                return False
        self._sent |= {name: files[name] for name in new}
        return True

    def _files(self) -> Iterator[tuple[str, Signature]]:
        """Yield the files of the run that goes on here, whole ones alone."""
        if self._job is not None:
            for path in run_files(self._folder / self._job.folder):
                yield str(path.relative_to(self._folder)), _signature(path)


def _of_files(method: Any) -> Any:
    """Return a method of the actor in the thread where it moves files, beside what agents ask of the ledger."""
    return method.options(concurrency_group=FILES)


def _signature(path: Path) -> Signature:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _is_no_checkpoint(name: str) -> bool:
    return not name.endswith(".pt")
