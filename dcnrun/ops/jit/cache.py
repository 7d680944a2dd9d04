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
from typing import Any, NamedTuple

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


class Kept(NamedTuple):
    """A library from the cache."""

    content: bytes
    """What was checked, and so what is to be loaded: the file may be another by then."""
    record: dict[str, Any]


def find(file: Path) -> Kept | None:
    """Return a library that is there, whole, and the user's or root's own; None otherwise.

    Raises CacheUnusable if others decide what lies in its folder.
    """
    try:
        with _own_folder(file.parent) as folder:
            content = _read(file.name, folder)
            record = json.loads(_read(file.with_suffix(".json").name, folder))
        return Kept(content, record) if record["sha256"] == hashlib.sha256(content).hexdigest() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read(file: Path) -> bytes | None:
    """Return what a file has that is the user's or root's own; None otherwise. Raises CacheUnusable as `find` does."""
    try:
        with _own_folder(file.parent) as folder:
            return _read(file.name, folder)
    except OSError:
        return None


def store(content: bytes, file: Path, record: dict[str, Any]) -> None:
    """Keep a compiled library as `file`, with a record of how it was built; CacheUnusable if that can't be."""
    record = {"sha256": hashlib.sha256(content).hexdigest(), **record}
    put(content, file)
    put(json.dumps(record, indent=2).encode() + b"\n", file.with_suffix(".json"))


def put(content: bytes, file: Path) -> None:
    """Write a file, whole or not at all; CacheUnusable if that can't be."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _own_folder(file.parent):
            pass
        _put(content, file)
    except OSError as error:
        raise CacheUnusable(
            f"compiled kernels can't be kept in {file.parent}: {error.strerror or error}",
            "make room or allow writing there, or set DCNRUN_CACHE to another folder",
        ) from error


@contextmanager
def one_builds(file: Path, seconds: float) -> Iterator[bool]:
    """Let one process of this user and machine build `file` while the others wait, `seconds` at most; False where that was too short.

    It only spares work: where it can't be had, all build and write the same file.
    """
    import fcntl

    # Not in the cache, since locks hang on some network file systems. The operating system opens a dead process's lock. Not
    # by `filelock`, which leaves a file for every kernel behind.
    try:
        lock = Path(tempfile.gettempdir()) / f"dcnrun-{os.getuid()}-{file.stem}.lock"
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield True
        return
    deadline, waits = time.monotonic() + seconds, True
    try:
        while waits and time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                waits = False
            except BlockingIOError:
                time.sleep(_SECONDS_BETWEEN_TRIES)
            except OSError:
                waits = False
        yield not waits
    finally:
        if not waits:
            with suppress(OSError):
                lock.unlink()
        os.close(descriptor)


@contextmanager
def _own_folder(folder: Path) -> Iterator[int]:
    """Open the folder: whoever can write to it decides what this process runs, so that is left to the user and root.

    Raises CacheUnusable where it is not: it belongs to another, or others may put another folder in its place.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        status = os.fstat(descriptor)
        if status.st_uid not in _trusted_users():
            raise CacheUnusable(
                f"{folder} belongs to another user, so nothing is loaded from it",
                "set DCNRUN_CACHE to a folder of your own",
            )
        if status.st_mode & _WRITABLE_BY_OTHERS:
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~_WRITABLE_BY_OTHERS)
        for parent in dict.fromkeys((*folder.parents, *folder.resolve().parents)):
            if _others_may_rename_in(parent.stat()):
                raise CacheUnusable(
                    f"others may replace folders in {parent}, so nothing is loaded from {folder}",
                    f"take away their right to write (chmod go-w {parent}), or set DCNRUN_CACHE to another folder",
                )
        yield descriptor
    finally:
        os.close(descriptor)


def _others_may_rename_in(folder: os.stat_result) -> bool:
    # Whoever owns the root folder rules the machine; in a container that can be another number than 0.
    if folder.st_uid not in _trusted_users() | {Path("/").stat().st_uid}:
        return True
    if folder.st_mode & stat.S_ISVTX:  # as in /tmp, where all may write, and nobody touches what is another's
        return False
    by_group = folder.st_mode & stat.S_IWGRP and not _is_of_nobody_else(folder.st_gid)
    return bool(folder.st_mode & stat.S_IWOTH or by_group)


def _is_of_nobody_else(group: int) -> bool:
    """Whether a group is root's, or the user's private one, which many systems give each user and let write by default."""
    import grp
    import pwd

    try:
        name, (group_name, _, _, members) = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return group == 0
    return group == 0 or (group_name == name and set(members) <= {name})


def _read(name: str, folder: int) -> bytes:
    """Return what a file in an open folder has; OSError unless it is the user's or root's own."""
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), "rb") as opened:
        status = os.fstat(opened.fileno())
        if status.st_uid not in _trusted_users() or status.st_mode & _WRITABLE_BY_OTHERS:
            raise PermissionError(f"others may write to {name}")
        return opened.read()


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
