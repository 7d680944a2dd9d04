import sys

import pytest

from dcnrun.errors import UsageError
from dcnrun.jobs.ledger import Job, State
from dcnrun.jobs.train import PROGRAM
from dcnrun.sweep.trial import command_line, devices_of, gpu_groups_for, trial_command


def job(*overrides):
    return Job(
        number=0, overrides=overrides, parameters={}, folder="a", state=State.running, attempts=1, owner="a:1", history=(),
        reason=None, band=None, started=0.0, ended=None, beat=0.0,
    )  # fmt: skip


def test_a_trial_on_one_device_is_dcnrun_train(tmp_path):
    assert trial_command(job("conv=dilated"), tmp_path) == [
        *PROGRAM,
        "train",
        "--run-dir",
        str(tmp_path),
        "conv=dilated",
    ]


def test_a_trial_on_several_devices_runs_under_torchrun(tmp_path):
    two = job("trainer.devices=2")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "dcnrun"]
    assert trial_command(two, tmp_path) == [*torchrun, "train", "--run-dir", str(tmp_path), "trainer.devices=2"]
    (tmp_path / "config.yaml").touch()
    assert trial_command(two, tmp_path) == [*torchrun, "train", "--resume", str(tmp_path)]


def test_the_command_for_people_is_quoted_for_a_shell():
    assert command_line(["data.classes=[a,b]"]) == "dcnrun train 'data.classes=[a,b]'"
    two = command_line(["trainer.devices=2"])
    assert two == "torchrun --standalone --nproc-per-node 2 -m dcnrun train trainer.devices=2"


def test_devices_of_a_run():
    assert devices_of(["experiment=quick"]) == 1
    assert devices_of(["experiment=quick", "trainer.devices=4"]) == 4
    assert devices_of(["there.is=none"]) == 1


def test_gpus_are_enough_for_a_trial_or_an_error():
    assert gpu_groups_for([], []) == []
    assert gpu_groups_for(["trainer.devices=2"], ["0", "1", "2", "3"]) == ["0,1", "2,3"]
    with pytest.raises(UsageError, match=r"trainer\.devices=2 GPUs, but --gpus names 1"):
        gpu_groups_for(["trainer.devices=2"], ["0"])
