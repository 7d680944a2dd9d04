"""Devices, precision and processes, through lightning-fabric."""

import os
import platform
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

import dcnrun
from dcnrun.config.schema import Accelerator, Config, Precision
from dcnrun.ops.jit.processor import cpu_model

_PRECISIONS = {Precision.fp32: "32-true", Precision.bf16: "bf16-mixed", Precision.fp16: "16-mixed"}
# Input channels from which oneDNN's gradient of a strided 1x1 convolution's weights is right on channels-last maps.
_LEAST_WIDTH = 16


def launch(config: Config) -> Fabric:
    """Start Fabric on the devices of a config; one process of many when torchrun started it."""
    trainer = config.trainer
    if trainer.threads > 0:
        torch.set_num_threads(trainer.threads)
    # Fabric's hints (more loader workers and so on) are for code that leaves those choices to it
    warnings.filterwarnings("ignore", module="lightning_fabric.*")
    many = trainer.devices * trainer.nodes > 1
    fabric = Fabric(
        accelerator=trainer.accelerator.value,
        devices=trainer.devices,
        num_nodes=trainer.nodes,
        strategy="ddp" if many else "auto",
        precision=_PRECISIONS[trainer.precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def trainer_problems(config: Config) -> list[str]:
    """What keeps a config from running on this machine, each problem a line naming the key."""
    trainer = config.trainer
    problems = []
    on_cuda = trainer.accelerator is not Accelerator.cpu and torch.cuda.is_available()
    if trainer.accelerator is Accelerator.cuda and not torch.cuda.is_available():
        problems.append("trainer.accelerator=cuda, but PyTorch finds no CUDA device here: use auto or cpu")
    if trainer.precision is Precision.fp16 and not on_cuda:
        problems.append("trainer.precision=fp16 needs a CUDA device: on the CPU use bf16 or fp32")
    processes = trainer.devices * trainer.nodes
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if processes != started:
        problems.append(
            f"trainer.devices={trainer.devices} and trainer.nodes={trainer.nodes} need {processes} processes, but {started} "
            f"were started: use torchrun --nproc-per-node {trainer.devices} -m dcnrun train ..."
        )
    if config.data.batch_size % max(processes, 1):
        problems.append(f"data.batch_size={config.data.batch_size} must be divisible by the {processes} processes")
    if trainer.channels_last and config.model.width < _LEAST_WIDTH:
        problems.append(
            f"model.width={config.model.width} must be at least {_LEAST_WIDTH}, or trainer.channels_last=false: on narrower "
            "channels-last maps, oneDNN writes past its memory (uxlfoundation/oneDNN#6035)"
        )
    return problems


def environment(fabric: Fabric, config: Config) -> dict[str, Any]:
    """What a run ran on: versions, git commit, hardware, seed."""
    cuda = fabric.device.type == "cuda"
    return {
        "dcnrun": dcnrun.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpu": cpu_model(),
        "cpu_threads": torch.get_num_threads(),
        "device": device_name(fabric),
        "processes": fabric.world_size,
        "git_commit": _git_commit(),
        "seed": config.seed,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def device_name(fabric: Fabric) -> str:
    """The device in words."""
    return torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else f"cpu ({cpu_model()})"


def _git_commit() -> str | None:
    """Commit of the code that ran, with `-dirty` where files were changed; None outside a checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(dcnrun.__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
