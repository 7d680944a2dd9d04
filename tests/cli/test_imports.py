"""The imports of PyTorch: without a look for garbage, and nobody looks there later."""

import gc
import sys

import pytest

from dcnrun.cli.imports import kept_imports


@pytest.fixture
def frozen(monkeypatch):
    """How often objects were put aside for good."""
    calls = []
    monkeypatch.setattr(gc, "freeze", lambda: calls.append(gc.isenabled()))
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
