"""Fixtures of the recipes' tests."""

import pytest

from tests.recipes.factories import CODE, CommandServer, Copy, read_recipes


@pytest.fixture(scope="session")
def commands():
    """Where all copies run their commands."""
    server = CommandServer()
    yield server
    server.close()


@pytest.fixture
def package(tmp_path, commands):
    """A copy of the package in which a recipe is followed."""
    return Copy(tmp_path / "package", commands)


@pytest.fixture(scope="session")
def recipes():
    """What CONTRIBUTING.md says, by the titles of its sections."""
    return read_recipes((CODE / "CONTRIBUTING.md").read_text())
