"""What a machine can't do is said before anything is built."""

import subprocess
import sys

import pytest
import torch

from dcnrun.config import machine
from dcnrun.config.compose import compose
from dcnrun.config.machine import machine_problems

CPU = ["data=shapes", "trainer.accelerator=cpu"]


@pytest.mark.parametrize(
    ("overrides", "has_cuda", "problem"),
    [
        (["trainer.accelerator=cuda"], False, "trainer.accelerator=cuda, but PyTorch finds no CUDA device here"),
        (["trainer.accelerator=auto", "trainer.precision=fp16"], False, "trainer.precision=fp16 needs a CUDA device"),
        (["trainer.precision=fp16"], True, "trainer.precision=fp16 needs a CUDA device"),
        (["trainer.accelerator=auto", "trainer.precision=fp16"], True, None),
        (["trainer.accelerator=cuda"], True, None),
        (["trainer.precision=bf16"], False, None),
        (["model.width=15"], False, "model.width=15 must be at least 16, or trainer.channels_last=false"),
        (["model.width=15", "trainer.channels_last=false"], False, None),
    ],
)
def test_what_this_machine_lacks(monkeypatch, overrides, has_cuda, problem):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    problems = machine_problems(compose([*CPU, *overrides]))
    assert len(problems) == (problem is not None)
    assert problem is None or problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("overrides", "started", "problems"),
    [
        (["trainer.devices=2", "data.batch_size=4"], "2", []),
        (["trainer.devices=2", "trainer.nodes=2", "data.batch_size=4"], "4", []),
        (["data.batch_size=4"], "2", ["trainer.devices=1 and trainer.nodes=1 need 1 processes, but 2 were started"]),
        (["trainer.devices=2", "data.batch_size=3"], "2", ["data.batch_size=3 must be divisible by the 2 processes"]),
        (["trainer.devices=2", "data.batch_size=4"], None, ["trainer.devices=2 and trainer.nodes=1 need 2 processes"]),
    ],
)
def test_as_many_processes_as_the_config_names(monkeypatch, overrides, started, problems):
    if started is None:
        monkeypatch.delenv("WORLD_SIZE", raising=False)
    else:
        monkeypatch.setenv("WORLD_SIZE", started)
    found = machine_problems(compose([*CPU, *overrides]))
    assert len(found) == len(problems)
    assert all(line.startswith(beginning) for line, beginning in zip(found, problems, strict=True))


@pytest.mark.parametrize("logger", ["mlflow", "tensorboard"])
def test_a_logger_whose_package_is_missing(monkeypatch, logger):
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    (problem,) = machine_problems(compose([*CPU, f"logger={logger}"]))
    assert problem.endswith(f"pip install 'dcnrun[{logger}]'")


def test_its_import_needs_no_torch():
    asked = "import sys, dcnrun.config.machine; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True).stdout == "False\n"
