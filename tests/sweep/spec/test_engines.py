from pathlib import Path

import pytest

from dcnrun.resources import resource_dir
from dcnrun.sweep.spec.engines import local_problems, wandb_problems
from dcnrun.sweep.spec.reading import parse_sweep, read_sweep

COMMAND = 'command: ["${env}", dcnrun, train, logger=wandb, logger.wandb_mode=online, "${args_no_hyphens}"]\n'


def sweep(more="", parameters="optim.lr: {values: [0.1, 0.2]}", method="random"):
    return parse_sweep(f"method: {method}\nparameters:\n  {parameters}\n{more}", Path("lr.yaml"))


def test_a_file_for_both():
    assert local_problems(sweep(COMMAND)) == []
    assert wandb_problems(sweep(COMMAND)) == []


@pytest.mark.parametrize("path", sorted(resource_dir("sweeps").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_are_for_both(path):
    assert local_problems(read_sweep(path)) == []
    assert wandb_problems(read_sweep(path)) == []


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (sweep(COMMAND, method="custom"), "lr.yaml:1: method: custom leaves the search to a scheduler"),
        (sweep(COMMAND + "scheduler: {engine: wandb}"), "lr.yaml:5: scheduler: is a program"),
        (sweep(COMMAND + "controller: {type: local}"), "lr.yaml:5: controller: type: local asks for"),
        (sweep(COMMAND + "job: me/p/j:v1"), "lr.yaml:5: job: is for W&B Launch"),
        (sweep("program: train.py"), "lr.yaml:4: program: the local engine runs `dcnrun train`, but this runs `${env}"),
        (sweep("command: [dcnrun, train]"), "lr.yaml:4: command: ${args_no_hyphens} must be there once"),
        (
            sweep("command: [dcnrun, train, optim.lr=1, '${args_no_hyphens}']"),
            "lr.yaml:3: parameters.optim.lr: is set in `command` too",
        ),
    ],
)
def test_what_the_local_engine_can_not_honour(read, expected):
    (problem,) = local_problems(read)
    assert problem.startswith(expected)


def test_what_is_harmless_here():
    more = "controller: {type: cloud}\nproject: p\nentity: e\ndescription: d\nkind: sweep\n"
    assert local_problems(sweep(COMMAND + more)) == []
    assert local_problems(sweep("# no command at all")) == []


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (sweep(), "lr.yaml:1: method: an agent would not know what to run"),
        (
            sweep(COMMAND, "optim.lr: {distribution: log_uniform, min: -3, max: 0}"),
            "lr.yaml:3: parameters.optim.lr: W&B refuses log_uniform by now: use log_uniform_values",
        ),
    ],
)  # fmt: skip
def test_what_agents_of_wandb_would_trip_over(read, expected):
    (problem,) = wandb_problems(read)
    assert problem.startswith(expected)


@pytest.mark.parametrize("parameters", ["optim: {parameters: {lr: {value: 1}}}", "conv.dilation: {values: [null, 2]}"])
def test_what_train_understands_from_agents_of_wandb(parameters):
    assert wandb_problems(sweep('command: [dcnrun, train, "${args_no_hyphens}"]\n', parameters)) == []
