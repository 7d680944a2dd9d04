"""A PostgreSQL server of the tests' own, from the programs that Debian's package `postgresql` installs."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

PROGRAMS = Path("/usr/lib/postgresql")
PASSWORD = "not-to-be-seen"


class Postgres:
    """A server on a free loopback port; `start` and `stop` let it go away and come back."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._port = _free_port()
        # PostgreSQL refuses to run as root
        self._as_user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        if self._as_user:
            shutil.chown(folder, "nobody", "nogroup")
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run(
            "initdb", "--no-sync", "--username=tester", "--auth=scram-sha-256", f"--pwfile={password}", "--no-locale",
            "--encoding=UTF8", f"--pgdata={folder / 'data'}",
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {"listen_addresses": "127.0.0.1", "port": self._port, "unix_socket_directories": self._folder}
        settings |= {"fsync": "off", "max_connections": 100}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", *options],
                stdout=log, stderr=log, cwd=self._folder, **self._as_user,
            )  # fmt: skip
        end = time.monotonic() + 60
        while subprocess.run(
            [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        ).returncode:
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < end, "PostgreSQL does not answer"
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it, with all its connections: SIGINT in order, SIGQUIT at once."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
        self._process = None

    def new_database(self) -> str:
        """The URL, with its password, of a database of this name that is empty."""
        self._databases += 1
        name = f"test{self._databases}"
        connection = ["-h", "127.0.0.1", "-p", str(self._port), "-U", "tester"]
        self._run("createdb", *connection, "--template=template0", name)
        return f"postgresql://tester:{PASSWORD}@127.0.0.1:{self._port}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments], cwd=self._folder, capture_output=True, text=True,
            env=os.environ | {"PGPASSWORD": PASSWORD}, **self._as_user,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def postgres():
    """A running server; what asks for it is skipped, with the reason, where there can be none."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'dcnrun[postgres]'")
    programs = max(PROGRAMS.glob("*/bin"), key=lambda path: float(path.parent.name), default=None)
    if programs is None:
        pytest.skip(f"no PostgreSQL in {PROGRAMS}: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="dcnrun-postgres-"))  # pytest's own folders are closed to other users
    try:
        server = Postgres(programs, folder)
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
