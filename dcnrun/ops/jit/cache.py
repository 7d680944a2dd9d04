"""The folder that compiled kernels are kept in: whole files only, and only such as the user or root put there."""

import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from dcnrun.ops.jit.errors import CacheUnusable

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_SECONDS_BETWEEN_TRIES = 0.05


def kernels_folder() -> Path:
    """`kernels` in DCNRUN_CACHE, or else in dcnrun's folder in the user's cache folder."""
    folder = Path(os.environ.get("DCNRUN_CACHE") or platformdirs.user_cache_path("dcnrun"))
    try:
        return folder.expanduser().absolute() / "kernels"
    except RuntimeError:
        raise CacheUnusable(
            "this user has no home folder to keep compiled kernels in", "set DCNRUN_CACHE to a folder"
        ) from None


def find(file: Path) -> dict[str, Any] | None:
    """The record of a library that is there, whole, and the user's or root's own; None otherwise.

    Raises CacheUnusable if others decide what lies in its folder.
    """
    try:
        _keep_others_out(file.parent)
        status = file.stat()
        if status.st_uid not in _trusted_users() or status.st_mode & _WRITABLE_BY_OTHERS:
            return None
        record = json.loads(file.with_suffix(".json").read_text())
        return record if record["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def store(library: Path, file: Path, record: dict[str, Any]) -> None:
    """Keep a compiled library as `file`, with a record of how it was built; CacheUnusable if that can't be."""
    content = library.read_bytes()
    record = {"sha256": hashlib.sha256(content).hexdigest(), **record}
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _keep_others_out(file.parent)
        _put(content, file)
        _put(json.dumps(record, indent=2).encode() + b"\n", file.with_suffix(".json"))
    except OSError as error:
        raise CacheUnusable(
            f"compiled kernels can't be kept in {file.parent}: {error.strerror or error}",
            "make room or allow writing there, or set DCNRUN_CACHE to another folder",
        ) from error


@contextmanager
def one_builds(file: Path, seconds: float) -> Iterator[None]:
    """Let one process of this user and machine build `file` while the others wait, `seconds` at most.

    It only spares work: where it can't be had, all build and write the same file.
    """
    import fcntl

    # Not in the cache, since locks hang on some network file systems. The operating system opens a dead process's lock. Not
    # by `filelock`, which leaves a file for every kernel behind.
    try:
        lock = Path(tempfile.gettempdir()) / f"dcnrun-{os.getuid()}-{file.stem}.lock"
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_SECONDS_BETWEEN_TRIES)
            except OSError:
                break
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def _keep_others_out(folder: Path) -> None:
    """Whoever can write to the folder decides what this process runs: leave that to the user and root."""
    status = folder.stat()
    if status.st_uid not in _trusted_users():
        raise CacheUnusable(
            f"{folder} belongs to another user, so nothing is loaded from it",
            "set DCNRUN_CACHE to a folder of your own",
        )
    if status.st_mode & _WRITABLE_BY_OTHERS:
        folder.chmod(stat.S_IMODE(status.st_mode) & ~_WRITABLE_BY_OTHERS)


def _trusted_users() -> set[int]:
    return {0, os.geteuid()}


def _put(content: bytes, file: Path) -> None:
    """Write a file under a name that no other process has, and rename it."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(content)
        # Whoever the user lets into the folder may read.
        beside.chmod(0o644)
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
