"""What keeps a sweep file that is right in itself from running here, or from running by Weights & Biases' own agents."""

from collections.abc import Iterator

from dcnrun.sweep.spec.command import read_command
from dcnrun.sweep.spec.parameters import OF_EXPONENTS
from dcnrun.sweep.spec.sweep_file import Method, SweepFile

_WITHOUT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
_COMMAND = 'command: ["${env}", dcnrun, train, "${args_no_hyphens}"]'


def local_problems(sweep: SweepFile) -> list[str]:
    """What of the file the local engine can't honour, each with its line; nothing of it is ignored instead."""
    return [f"{sweep.at(key)}: {key}: {message}" for key, message in _not_local(sweep)]


def wandb_problems(sweep: SweepFile) -> list[str]:
    """What keeps `wandb sweep FILE && wandb agent ID` from running this file, each with its line."""
    return [f"{sweep.at(key)}: {key}: {message}" for key, message in _not_wandb(sweep)]


def _not_local(sweep: SweepFile) -> Iterator[tuple[str, str]]:
    raw = sweep.raw
    if sweep.method is Method.custom:
        yield "method", "custom leaves the search to a scheduler of Weights & Biases: use bayes, random or grid."
    if "scheduler" in raw:
        yield (
            "scheduler",
            "is a program of Weights & Biases that searches: leave it out, or use the `wandb` command itself.",
        )
    if raw.get("controller", {}).get("type") == "local":
        yield "controller", "type: local asks for `wandb controller`: leave it out, or use the `wandb` command itself."
    for key in ("job", "image_uri"):
        if key in raw:
            yield key, "is for W&B Launch: leave it out, or use the `wandb` command itself."
    if not sweep.parameters:
        yield "method", "no `parameters` are varied."
    command = raw.get("command") or (_WITHOUT_COMMAND if "program" in raw else None)
    if command:
        place = "command" if "command" in raw else "program"
        yield from (
            (place, problem) for problem in read_command([str(item) for item in command], raw.get("program")).problems
        )
    fixed = {override.partition("=")[0] for override in sweep.fixed}
    for parameter in sweep.parameters:
        if parameter.name in fixed:
            yield f"parameters.{parameter.name}", "is set in `command` too: leave it out there."


def _not_wandb(sweep: SweepFile) -> Iterator[tuple[str, str]]:
    if "command" not in sweep.raw:
        yield "method", f"an agent would not know what to run. Add {_COMMAND}."
    for name, spec in (sweep.raw.get("parameters") or {}).items():
        if spec.get("distribution") in OF_EXPONENTS:
            yield f"parameters.{name}", f"W&B refuses {spec['distribution']} by now: use {spec['distribution']}_values."
