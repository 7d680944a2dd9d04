"""Devices, precision and processes, through lightning-fabric."""

import platform
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

import dcnrun
from dcnrun.config.schema import Accelerator, Config, Precision, encoder_of
from dcnrun.masking import masked_urls
from dcnrun.ops.jit.processor import cpu_model
from dcnrun.resources import git_commit


class Autocast(MixedPrecision):
    """Mixed precision by autocast alone.

    Fabric's own also casts every float argument of a network, boxes with it: in bf16 they move by up to a pixel from 256 on.
    """

    def convert_input(self, data: Any) -> Any:
        """Leave the arguments of a network as they are; autocast casts what an operator computes in half precision."""
        return data


def launch(config: Config) -> Fabric:
    """Start Fabric on the devices of a config; one process of many when torchrun started it."""
    trainer = config.trainer
    if trainer.threads > 0:
        torch.set_num_threads(trainer.threads)
    # Fabric's hints (more loader workers and so on) are for code that leaves those choices to it
    warnings.filterwarnings("ignore", module="lightning_fabric.*")
    # One process needs no cluster. Fabric would ask SLURM's variables, which speak of all tasks of a job.
    many = trainer.devices * trainer.nodes > 1
    # of an encoder of a library some layers may lead to none of the feature maps that are used
    ddp = "ddp" if encoder_of(config.model) is None else "ddp_find_unused_parameters_true"
    fabric = Fabric(
        accelerator=trainer.accelerator.value,
        devices=trainer.devices,
        num_nodes=trainer.nodes,
        strategy=ddp if many else "auto",
        plugins=[*_precision(config), *([] if many else [LightningEnvironment()])],
    )
    fabric.launch()
    return fabric


def _precision(config: Config) -> list[MixedPrecision]:
    device = "cuda" if config.trainer.accelerator is not Accelerator.cpu and torch.cuda.is_available() else "cpu"
    match config.trainer.precision:
        case Precision.fp32:
            return []
        case Precision.bf16:
            return [Autocast("bf16-mixed", device)]
        case Precision.fp16:
            return [Autocast("16-mixed", device)]


def environment(fabric: Fabric, config: Config) -> dict[str, Any]:
    """Return what a run ran on: versions, git commit, hardware, seed."""
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
        "git_commit": git_commit(),
        "seed": config.seed,
        "command": [Path(sys.argv[0]).name, *map(masked_urls, sys.argv[1:])],
    }


def device_name(fabric: Fabric) -> str:
    """Return the device in words."""
    return torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else f"cpu ({cpu_model()})"
