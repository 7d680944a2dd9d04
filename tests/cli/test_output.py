"""Standard output that fails in one way or another, and work that does not."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dcnrun.cli.output import Output
from tests.cli.fakes import ENVIRONMENT

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.fixture
def over():
    """Opens an Output over a file."""
    opened = []

    def open_over(path, **options):
        opened.append(Output.over(io.TextIOWrapper(io.FileIO(path, "wb"), **options)))
        return opened[-1]

    yield open_over
    for each in opened:
        each.close()


def test_what_a_full_disk_cannot_take_is_dropped(over):
    stream = over("/dev/full", encoding="utf-8")
    assert stream.write("a" * 100_000) == 100_000
    stream.flush()
    assert stream.failure.strerror == "No space left on device"
    print("more", file=stream, flush=True)


def test_letters_that_an_encoding_lacks_are_written_out(over, tmp_path):
    stream = over(tmp_path / "x", encoding="ascii")
    stream.write("mIoU ± 1, é")
    stream.flush()
    assert (tmp_path / "x").read_bytes() == rb"mIoU \xb1 1, \xe9"


def test_a_pipe_that_its_reader_closed_ends_the_program():
    reader, writer = os.pipe()
    os.close(reader)
    stream = Output.over(io.TextIOWrapper(io.FileIO(writer, "wb")))
    stream.write("text")
    with pytest.raises(BrokenPipeError):
        stream.flush()
    stream.close()  # quietly


def test_a_command_whose_output_is_lost_says_so_and_fails():
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "dcnrun", "config"], env=ENVIRONMENT, stdout=full, stderr=-1, text=True
        )
    assert ended.returncode == 1
    assert ended.stderr == "error: Standard output can't be written (No space left on device); all else was done.\n"
