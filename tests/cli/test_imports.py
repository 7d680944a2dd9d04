"""The imports of PyTorch: without a look for garbage, and nobody looks there later."""

import atexit
import gc
import subprocess
import sys

import pytest

from dcnrun.cli.imports import kept_imports


@pytest.fixture
def frozen(monkeypatch):
    """How often objects were put aside for good."""
    calls = []
    monkeypatch.setattr(gc, "freeze", lambda: calls.append(gc.isenabled()))
    monkeypatch.setattr(atexit, "register", lambda _: None)  # which would be of this process
    return calls


@pytest.mark.parametrize("error", [None, ImportError])
def test_a_first_import_is_kept_and_the_collector_goes_on(frozen, monkeypatch, error):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    try:
        with kept_imports():
            assert not gc.isenabled()
            if error:
                raise error
    except ImportError:
        assert error
    assert gc.isenabled()
    assert frozen == [False]


def test_nothing_is_different_where_torch_is_there(frozen, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", object())
    with kept_imports():
        assert gc.isenabled()
    assert frozen == []


def test_a_collector_that_is_off_stays_off(frozen, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    gc.disable()
    try:
        with kept_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert frozen == []


LATE = """
import atexit, os
from dcnrun.cli.imports import kept_imports
atexit.register(os.write, 2, b"leaked 513 functions!")  # as a library does after Python's end
with kept_imports():
    atexit.register(os.write, 2, b"of an import's end")
"""


def test_what_libraries_say_of_kept_objects_after_the_end_is_not_shown():
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True, timeout=100)
    assert done.stderr == "of an import's end"
