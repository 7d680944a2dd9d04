"""The errors that a user sees as one clear message, and the exit codes they end with."""

import errno
import re
import traceback
from typing import Any


class DcnrunError(Exception):
    """Something a user can understand and mend; shown without a traceback."""

    exit_code = 1


class UsageError(DcnrunError):
    """A wrong command line, config or layout of files: found before anything ran."""

    exit_code = 2


class ConfigError(UsageError):
    """One or more problems with the settings, all reported together."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))

    # Python's passes the message, of which a process that unpickles it makes a problem a letter.
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class DataError(DcnrunError):
    """A file of a data set that can't be used: the message names it and what was expected."""


class ProblemsError(DcnrunError):
    """What a command was to find, and has found: its report is already shown, and is the object of --json."""

    def __init__(self, message: str, report: dict[str, Any]) -> None:
        self.report = report
        super().__init__(message)

    # Python's passes the message alone.
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.report)


class RunError(DcnrunError):
    """A run that failed while running: loss not finite, full disk, damaged checkpoint."""


def explained(error: BaseException) -> DcnrunError | None:
    """Return what a user can understand of an error of Python, the system or PyTorch: memory that is full, a process that died.

    None for any other error.
    """
    text = str(error)
    if isinstance(error, RuntimeError) and text.startswith("DataLoader worker"):
        how = re.search(r"is killed by signal: [\w ]+|exited unexpectedly", text)
        return RunError(
            f"A process that prepares data {how[0].strip() if how else 'died'}, as the system does to one when memory runs out. Resume the run from its last "
            "checkpoint, perhaps with fewer data.workers; 0 prepares data in the training process."
        )
    if type(error).__name__ == "OutOfMemoryError":  # of PyTorch, for a GPU
        return RunError(
            "The GPU has too little free memory. Resume the run when there is more, or start one with a smaller data.batch_size; "
            "trainer.accumulate makes up for that."
        )
    is_memory = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    if is_memory or (isinstance(error, RuntimeError | ImportError) and any(words in text for words in _OF_MEMORY)):
        return RunError(
            "Memory ran out: the machine has too little free, or a limit (ulimit -v, a scheduler's) is too low. With more of it a "
            "run resumes from its last checkpoint; a smaller data.batch_size and fewer data.workers need less."
        )
    if isinstance(error, OSError) and any(file.endswith(_SEMAPHORES) for file in _files_of(error)):
        return RunError(
            f"Processes that prepare data can't be started, since shared memory can't be used (/dev/shm on Linux): {error.strerror or error}. "
            "data.workers=0 prepares data in the training process."
        )
    if isinstance(error, OSError) and error.strerror:
        what = f"{error.filename} can't be used" if error.filename is not None else "The system refused"
        return RunError(f"{what}: {error.strerror}.")
    return None


def _files_of(error: BaseException) -> list[str]:
    """Return the source files that an error came through, the outermost first."""
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]


_SEMAPHORES = "multiprocessing/synchronize.py"
_OF_MEMORY = (
    "can't allocate memory",
    "annot allocate memory",
    "bad_alloc",
    "size calculation overflowed",
    "failed to map segment",
    "can't start new thread",
)
"""What messages of PyTorch, the dynamic linker and Python say when memory runs out."""
