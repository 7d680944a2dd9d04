import pytest
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from dcnrun.sweep.spec.command import MACROS, read_command, unknown_macros

ARGS = "${args_no_hyphens}"


def read(*items, program=None):
    return read_command(items, program)


@pytest.mark.parametrize(
    "start",
    [
        ["${env}", "dcnrun", "train"],
        ["dcnrun", "train"],
        [".venv/bin/dcnrun", "train"],
        ["/usr/bin/env", "${interpreter}", "-m", "dcnrun", "train"],
        ["${interpreter}", "-m", "${program}", "train"],
        ["/opt/python3.12", "-m", "dcnrun", "train"],
    ],
    ids=" ".join,
)
def test_commands_that_train(start):
    command = read(*start, "experiment=quick", ARGS, program="dcnrun")
    assert command.problems == ()
    assert command.fixed == ("experiment=quick",)


@pytest.mark.parametrize(
    "command",
    [
        ["${env}", "${interpreter}", "${program}", "${args}"],
        ["dcnrun", "compare", ARGS],
        ["dcnrun", ARGS],
        ["python", "-m", "dcnrun.train", ARGS],
        ["bash", "-c", "dcnrun train", ARGS],
        ["mydcnrun", "train", ARGS],
    ],
    ids=" ".join,
)
def test_other_commands_are_refused(command):
    read = read_command(command, "train.py")
    assert read.fixed == ()
    assert read.problems[0].startswith("the local engine runs `dcnrun train`")


def test_what_goes_online_is_left_out_and_nothing_else():
    online = ["logger=wandb", "logger.wandb_mode=online", "logger.wandb_project=mine", "logger.wandb=true"]
    command = read("dcnrun", "train", "conv=dilated", *online, "logger.csv=true", ARGS)
    assert command.fixed == ("conv=dilated", "logger.csv=true")
    assert read("dcnrun", "train", "logger=csv", ARGS).fixed == ("logger=csv",)


def test_torchrun():
    several = ["torchrun", "--standalone", "--nproc-per-node", "2", "-m", "dcnrun", "train"]
    assert read(*several, "trainer.devices=2", ARGS).fixed == ("trainer.devices=2",)
    assert read(*several, ARGS).problems == ("torchrun starts 2 processes: say trainer.devices=2 too.",)
    assert (
        read(
            "torchrun", "--standalone", "--nproc_per_node=2", "-m", "dcnrun", "train", "trainer.devices=2", ARGS
        ).problems
        == ()
    )
    assert "the local engine runs" in read("torchrun", "--nnodes=2", "-m", "dcnrun", "train", ARGS).problems[0]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], "${args_no_hyphens} must be there once"),
        ([ARGS, ARGS], "${args_no_hyphens} must be there once"),
        (["${args}"], "`dcnrun train` takes key=value: write ${args_no_hyphens}"),
        (["${args_json_file}", ARGS], "${args_json_file}: `dcnrun train` takes key=value"),
        (["data.root=${envvar:DATA}", ARGS], "Give it to `dcnrun sweep` as an override instead"),
        (["--run-dir", "x", ARGS], "--run-dir: a local trial is given settings"),
        (["+optim.new=1", ARGS], "a setting can't be added"),
        (["quick", ARGS], "quick: an override is written key=value"),
    ],
)
def test_arguments_that_a_local_trial_can_not_have(items, expected):
    assert expected in "\n".join(read("dcnrun", "train", *items).problems)


def test_macros_are_those_of_the_client():
    of_arguments = create_sweep_command_args({"args": {"optim.lr": {"value": 0.1}}})
    assert {*MACROS} == {*of_arguments, "args_json_file", "env", "interpreter", "program"}
    assert unknown_macros([f"${{{macro}}}" for macro in MACROS] + ["${envvar:HOME}", "name=${conv.kind}"]) == []
    assert unknown_macros(["${arg}", "${args_no_hyphen}"]) == ["arg", "args_no_hyphen"]


def test_names_of_variables_are_in_capitals_as_the_client_has_them(monkeypatch):
    monkeypatch.setenv("home", "here")
    command = ["data.root=${envvar:home}/x", "a=${envvar:HOME_1}"]
    assert create_sweep_command([*command])[0] == command[0], "it replaces only capitals"
    assert unknown_macros(command) == ["envvar:home"]
