"""The `command` of a sweep file: which of its overrides a local trial gets.

`command` is what an agent of Weights & Biases runs for each trial, `${...}` replaced, as in

    command: ["${env}", dcnrun, train, experiment=quick, "${args_no_hyphens}"]

The local engine starts `dcnrun train` itself, with the overrides that stand there (`experiment=quick`). It leaves out those that
log the run to Weights & Biases (`logger=wandb`, `logger.wandb=...`, `logger.wandb_mode=...`, `logger.wandb_project=...`), so that
a file written for it needs no account and no network here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dcnrun.config.overrides import parse
from dcnrun.errors import ConfigError

_FORMS = ("no_hyphens", "no_boolean_flags", "no_equals", "json", "json_file", "dict", "append_hydra", "override_hydra")
MACROS = ("env", "interpreter", "program", "args", *(f"args_{form}" for form in _FORMS))
"""What agents of Weights & Biases replace, besides ${envvar:NAME}."""

_ARGUMENTS = "${args_no_hyphens}"
_ENVIRONMENT = re.compile(r"\$\{envvar:[A-Z0-9_]*\}")
# The words of a command line, each with a NUL behind it; a program may be named with its folder.
_TRAINING = re.compile(
    r"(?:[^\0]*/)?"
    r"(?:dcnrun\0|(?:python[0-9.]*|torchrun\0--standalone\0--nproc[-_]per[-_]node[=\0](?P<devices>[0-9]+))\0-m\0dcnrun\0)"
    r"train\0"
)
_WANDB_LOGGING = ("logger.wandb", "logger.wandb_mode", "logger.wandb_project")


@dataclass(frozen=True)
class Command:
    """What the local engine takes from a command."""

    fixed: tuple[str, ...] = ()
    """Overrides that every trial is given: all but those that only log the run to Weights & Biases."""
    problems: tuple[str, ...] = ()  # why the local engine can't run it


def unknown_macros(command: Sequence[str]) -> list[str]:
    """Return items such as `${arg}`, which agents replace by nothing; `${envvar:home}` too, since a name is in capitals."""
    whole = (re.fullmatch(r"\$\{([^}]*)\}", item) for item in command)
    unknown = [match[1] for match in whole if match and match[1] not in MACROS and not match[1].startswith("envvar:")]
    variables = [macro for item in command for macro in re.findall(r"\$\{envvar:[^}]*\}", item)]
    return [*unknown, *(macro[2:-1] for macro in variables if not _ENVIRONMENT.fullmatch(macro))]


def read_command(command: Sequence[str], program: str | None) -> Command:
    """Take a command apart; what is not `dcnrun train` with overrides and ${args_no_hyphens} becomes a problem."""
    replaced = {"${interpreter}": "python", "${program}": program or "${program}"}
    expanded = [replaced.get(item, item) for item in command if item not in ("${env}", "/usr/bin/env")]
    training = _TRAINING.match("".join(f"{item}\0" for item in expanded))
    if training is None:
        remedy = 'command: ["${env}", dcnrun, train, "${args_no_hyphens}"]'
        runs = f"the local engine runs `dcnrun train`, but this runs `{' '.join(command)}`"
        return Command(problems=(f"{runs}. Write {remedy}.",))
    arguments = expanded[training[0].count("\0") :]
    overrides, problems = _overrides([item for item in arguments if item != _ARGUMENTS])
    if arguments.count(_ARGUMENTS) != 1:
        problems.append(f"{_ARGUMENTS} must be there once: it is where a trial's parameters go.")
    if training["devices"]:
        setting = f"trainer.devices={int(training['devices'])}"
        if setting not in overrides:
            problems.append(f"torchrun starts {int(training['devices'])} processes: say {setting} too.")
    return Command(tuple(item for item in overrides if not _only_logs_to_wandb(item)), tuple(problems))


def _overrides(items: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the items that are overrides, and what is wrong with the others."""
    overrides, problems = [], []
    for item in items:
        if item.startswith("${args"):
            problems.append(f"{item}: `dcnrun train` takes key=value: write {_ARGUMENTS}.")
        elif _ENVIRONMENT.search(item):
            why = "machines that share a local sweep may each have another value, and a secret would be kept with the trial"
            problems.append(f"{item}: {why}. Give it to `dcnrun sweep` as an override instead.")
        elif item.startswith("-"):
            problems.append(f"{item}: a local trial is given settings (key=value) and no options of `dcnrun train`.")
        else:
            try:
                parse(item)
                overrides.append(item)
            except ConfigError as error:
                problems += error.problems
    return overrides, problems


def _only_logs_to_wandb(override: str) -> bool:
    change = parse(override)
    return (change.key == "logger" and change.elements == ["wandb"]) or change.key in _WANDB_LOGGING
