from pathlib import Path

import pytest

from dcnrun.ops.jit import KernelUnavailable, cache
from dcnrun.ops.jit.build import find_or_build, work_folder
from dcnrun.ops.jit.errors import CacheUnusable


@pytest.fixture
def calls():
    return []


@pytest.fixture
def compile(calls):
    """Writes its number."""

    def write(file):
        calls.append(file)
        file.write_text(str(len(calls)))
        return ["-O3"]

    return write


def test_compiled_once_then_found(sandbox, calls, compile):
    with work_folder() as work:
        first, second = (find_or_build("a.so", compile, work, 1) for _ in range(2))
    assert first.file == second.file == cache.kernels_folder() / "a.so"
    assert (first.was_there, second.was_there, len(calls)) == (False, True, 1)
    assert first.file.read_text() == "1"
    assert first.record["flags"] == second.record["flags"] == ["-O3"]
    assert first.kept() is first
    assert sandbox.leftovers() == []


def test_what_can_not_be_kept_stays_in_the_work_folder(sandbox, calls, compile):
    sandbox.cache.write_text("a file where the folder should be")
    with work_folder() as work:
        built = find_or_build("a.so", compile, work, 1)
        assert built.file == work / "a.so"
        assert built.file.read_text() == "1"
        with pytest.raises(CacheUnusable, match="DCNRUN_CACHE"):
            built.kept()
    assert not built.file.exists()


def test_a_failure_leaves_nothing(sandbox):
    def fail(file: Path):
        file.write_text("half")
        raise KernelUnavailable("an error", "mend it")

    with pytest.raises(KernelUnavailable, match="an error"), work_folder() as work:
        find_or_build("a.so", fail, work, 1)
    assert sandbox.built() == []
    assert sandbox.leftovers() == []
