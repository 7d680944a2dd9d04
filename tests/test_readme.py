"""The README's commands work as written, and CI runs its test command."""

import re
import shlex
from pathlib import Path

import pytest

from dcnrun.compare.grid import build_grid
from dcnrun.config.compose import compose
from dcnrun.tasks.validate import check

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
CONSOLE = [line for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]


def commands(name: str) -> list[list[str]]:
    """Arguments of every `dcnrun <name>` in the README."""
    found = re.findall(rf"(?:^|\s|/)dcnrun {name} (.*)", "\n".join(CONSOLE))
    return [shlex.split(arguments, comments=True) for arguments in found]


def test_ci_runs_the_test_command():
    assert "make install test" in CONSOLE
    assert "\nmake install test" in (REPOSITORY / ".ci" / "run").read_text()


@pytest.mark.parametrize("arguments", commands("compare"), ids=" ".join)
def test_comparisons_compose(arguments):
    grid = build_grid(arguments)
    assert len(grid.variants) >= 3
    assert len(grid.seeds) >= 3


@pytest.mark.parametrize("arguments", commands("train"), ids=" ".join)
def test_runs_compose(arguments):
    overrides = [argument for argument in arguments if "=" in argument]
    if "--resume" not in arguments:
        check(compose(overrides))
        assert overrides


def test_pictures_are_there():
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (REPOSITORY / path).is_file(), path


def test_files_that_it_names_are_there():
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (REPOSITORY / path).exists(), path
