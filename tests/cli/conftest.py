"""Fixtures of the tests of the command line."""

import sys
from types import ModuleType

import pytest


@pytest.fixture
def replaced(monkeypatch):
    """Put a function, or a class with one method, in the place of one that a command calls; returns the arguments of its calls."""

    def replace(module, name, result=None, error=None):
        calls = []

        def function(*arguments, **named):
            calls.append((*arguments, *named.values()))
            print("progress")
            if error is not None:
                raise error
            return {} if result is None else result

        fake = ModuleType(module)
        engine, _, method = name.rpartition(".")
        if engine:
            setattr(fake, engine, type(engine, (), {method: staticmethod(function)}))
        else:
            setattr(fake, name, function)
        monkeypatch.setitem(sys.modules, module, fake)
        return calls

    return replace
