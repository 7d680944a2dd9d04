"""What a run starts on, and what it records of it."""

import subprocess
from pathlib import Path

import pytest
import torch

import dcnrun
from dcnrun.config.compose import compose
from dcnrun.training.launch import environment, launch


@pytest.mark.parametrize(("precision", "product"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_and_threads_are_those_of_the_config(precision, product):
    fabric = launch(compose(["trainer.accelerator=cpu", "trainer.threads=1", f"trainer.precision={precision}"]))
    assert (fabric.world_size, fabric.device.type, torch.get_num_threads()) == (1, "cpu", 1)
    with fabric.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is product


def test_one_process_of_a_slurm_job_of_several_tasks_is_one_process(monkeypatch):
    for name, value in {
        "JOB_ID": "77",
        "JOB_NAME": "a",
        "NTASKS": "4",
        "NNODES": "1",
        "PROCID": "3",
        "LOCALID": "3",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    fabric = launch(compose(["trainer.accelerator=cpu", "trainer.threads=1"]))
    assert (fabric.world_size, fabric.global_rank, fabric.is_global_zero) == (1, 0, True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_positions_reach_the_network_as_they_are(precision):
    """bf16 has eight bits: 257 would become 256."""
    seen = []

    class Detector(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)

        def forward(self, image, boxes):
            seen.extend(boxes)
            return self.conv(image)

    boxes = [torch.tensor([[257.0, 300.5, 515.0, 601.0]])]
    fabric = launch(compose(["trainer.accelerator=cpu", "trainer.threads=1", f"trainer.precision={precision}"]))
    output = fabric.setup(Detector())(torch.zeros(1, 3, 8, 8), boxes)
    assert torch.equal(seen[0], boxes[0])
    assert output.dtype is torch.float32


def test_the_environment_names_seed_versions_and_commit():
    config = compose(["trainer.accelerator=cpu", "trainer.threads=1", "seed=7"])
    recorded = environment(launch(config), config)
    assert (recorded["seed"], recorded["torch"], recorded["processes"]) == (7, torch.__version__, 1)
    assert recorded["cpu_threads"] == 1
    assert recorded["device"] == f"cpu ({recorded['cpu']})"
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(dcnrun.__file__).parent, capture_output=True, text=True, check=False
    )
    wanted = head.stdout.strip() or None
    assert recorded["git_commit"] in (wanted, f"{wanted}-dirty")
