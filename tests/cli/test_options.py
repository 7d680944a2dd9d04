"""Options are frozen as a text; what shells complete."""

import inspect
import os
import re
import shutil
import sys
import textwrap
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import typer.main

from dcnrun.cli import app
from tests.cli.fakes import ENVIRONMENT, median_seconds, run_process

FROZEN = Path(__file__).with_name("options.txt")
TYPES = {bool: "flag", int: "integer", float: "number", str: "text", Path: "path"}


def described() -> str:
    """Every command with its arguments and options: names, type, default, help."""
    root = typer.main.get_command(app)
    commands = {"dcnrun": root}
    for name, command in root.commands.items():
        commands |= {name: command}
        commands |= {f"{name} {inner}": of_group for inner, of_group in getattr(command, "commands", {}).items()}
    return "\n".join("".join(f"{line}\n" for line in lines_of(*each)) for each in commands.items())


def lines_of(name, command):
    yield f"{name}: {command.help.splitlines()[0]}"
    declared = get_type_hints(inspect.unwrap(command.callback), include_extras=True) if command.params else {}
    for parameter in command.params:
        if parameter.name in declared:  # Typer's own are not
            facts = ", ".join(facts_of(parameter, declared[parameter.name]))
            yield f"  {'/'.join(parameter.opts + parameter.secondary_opts)} ({facts})"
            yield from textwrap.wrap(parameter.help, 110, initial_indent="      ", subsequent_indent="      ")


def facts_of(parameter, annotation):
    bare, info = get_args(annotation)
    types = [bare] if not get_args(bare) else [each for each in get_args(bare) if each is not NoneType]
    is_list = get_origin(types[0]) is list or get_origin(bare) is list
    inner = get_args(types[0])
    kind = inner if get_origin(types[0]) is Literal else (inner or types)[0]  # a choice among words; an enum is one too
    yield TYPES.get(kind) or "|".join(kind)
    if info.min is not None:
        yield f"at least {info.min}"
    if is_list:
        yield "any number"
    if parameter.metavar:
        yield f"shown as {parameter.metavar}"
    if parameter.required:
        yield "required"
    elif parameter.default is not None and parameter.default is not False:
        yield f"default {parameter.default}"


def test_every_command_and_option_is_as_it_was_agreed():
    """A change of the command line is a decision: write the new one with `python -m tests.cli.test_options`."""
    assert described() == FROZEN.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A folder with a program `dcnrun`, as an installation makes it."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "dcnrun").write_text(f"#!{sys.executable}\nfrom dcnrun.cli import main\n\nmain()\n")
    (folder / "dcnrun").chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def bash(program):
    """A bash one types into, with completion set up as `dcnrun --show-completion` says."""
    pexpect = pytest.importorskip("pexpect")
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    environment = ENVIRONMENT | {"PATH": f"{program}:{os.environ['PATH']}", "TERM": "dumb", "INPUTRC": "/dev/null"}
    shell = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile", "-i"],
        env=environment,
        encoding="utf-8",
        timeout=20,
        dimensions=(50, 300),
        cwd=program,
    )
    shell.sendline("bind 'set enable-bracketed-paste off'")
    shell.sendline('eval "$(dcnrun --show-completion)"; echo "ready:$?"')
    shell.expect_exact("ready:0")
    yield shell
    shell.close(force=True)


def after_tab(shell, typed):
    """The line as it stands after Tab: the shell is made to print it."""
    to_start, to_end = "\x01", "\x05"
    shell.send(f"{typed}\t{to_start}echo '<{to_end}>'\r")
    shell.expect(r"\n<(.*?)>\r\n")
    return shell.match.group(1)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("dcnrun tra", "dcnrun train "),
        ("dcnrun train conv=def", "dcnrun train conv=deformable "),
        ("dcnrun train conv=d", "dcnrun train conv=d"),
        ("dcnrun train conv=", "dcnrun train conv="),
        ("dcnrun train seed=1 model=fc", "dcnrun train seed=1 model=fcn "),
        ("dcnrun train logger.csv=t", "dcnrun train logger.csv=true "),
        ("dcnrun train optim.l", "dcnrun train optim.lr="),
        ("dcnrun train optim.lr=", "dcnrun train optim.lr=0.01 "),
        ("dcnrun train mod", "dcnrun train model"),
        ("dcnrun train experi", "dcnrun train experiment="),
        ("dcnrun compare conv=standard,dil", "dcnrun compare conv=standard,dilated "),
        ("dcnrun evaluate runs/x data=tre", "dcnrun evaluate runs/x data=treecrowns "),
        ("dcnrun config data.root=dcn", "dcnrun config data.root=dcnrun "),
        ("dcnrun evaluate dcn", "dcnrun evaluate dcnrun "),
        ("dcnrun train nothing", "dcnrun train nothing"),
    ],
)
def test_completion_in_bash(bash, typed, expected):
    assert after_tab(bash, typed) == expected


def completed(program, shell, line):
    """What Typer's script for zsh or fish is given for a line; here an override arrives whole."""
    environment = {
        "_DCNRUN_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    return run_process(str(program / "dcnrun"), **environment).stdout


def test_completion_in_zsh_and_fish(program):
    zsh = completed(program, "zsh", "dcnrun train conv=d")
    assert re.findall(r'"(conv=\w+)"', zsh) == ["conv=dcnv3", "conv=dcnv4", "conv=deformable", "conv=dilated"]
    fish = completed(program, "fish", "dcnrun train optim.s")
    assert [line.split("\t")[0] for line in fish.splitlines()] == [
        "optim.schedule=",
        "optim.step_at=",
        "optim.step_gamma=",
    ]
    assert "over trainer.steps" in fish


def test_completion_knows_an_own_folder_and_keeps_quiet_when_it_is_missing(program, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cells.yaml").touch()
    assert completed(program, "fish", f"dcnrun train --config-dir {tmp_path} data=ce").startswith("data=cells")
    assert completed(program, "fish", "dcnrun train --config-dir nowhere data=ce").strip() == ""


@pytest.mark.alone
def test_completion_is_quick(program):
    words = {"COMP_WORDS": "dcnrun\ntrain\nconv\n=\nd", "COMP_CWORD": "4", "_DCNRUN_COMPLETE": "complete_bash"}

    def complete():
        assert run_process(str(program / "dcnrun"), **words).stdout == "dcnv3\ndcnv4\ndeformable\ndilated\n"

    assert median_seconds(complete, "completion") < 1.0


if __name__ == "__main__":
    FROZEN.write_text(described(), encoding="utf-8")
