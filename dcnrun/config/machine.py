"""What keeps a config from running on this machine: its devices, the processes that were started, its libraries.

Imports torch in the function alone, so that commands that ask nothing of the machine stay fast.
"""

import os
from collections.abc import Iterator
from importlib.util import find_spec

from dcnrun.config.schema import Accelerator, Config, Precision, ResNetModelConfig, TrainerConfig

# Input channels from which oneDNN's gradient of a strided 1x1 convolution's weights is right on channels-last maps.
_LEAST_WIDTH = 16


def machine_problems(config: Config, are_started: bool = True) -> list[str]:
    """Return what keeps a config from running here, each problem a line that names the key.

    `are_started` says whether this is one of the run's processes; if not, another one will start them, on this machine.
    """
    return list(_problems(config, config.trainer, are_started))


def _problems(config: Config, trainer: TrainerConfig, are_started: bool) -> Iterator[str]:
    import torch

    has_cuda = torch.cuda.is_available()
    if trainer.accelerator is Accelerator.cuda and not has_cuda:
        yield "trainer.accelerator=cuda, but PyTorch finds no CUDA device here: use auto or cpu"
    if trainer.precision is Precision.fp16 and not (has_cuda and trainer.accelerator is not Accelerator.cpu):
        yield "trainer.precision=fp16 needs a CUDA device: on the CPU use bf16 or fp32"

    processes = trainer.devices * trainer.nodes
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if not are_started and trainer.nodes > 1:
        yield (
            f"trainer.nodes={trainer.nodes} needs `dcnrun train` under torchrun on each machine: only runs on one machine are "
            "started from here"
        )
    if are_started and processes != started:
        yield (
            f"trainer.devices={trainer.devices} and trainer.nodes={trainer.nodes} need {processes} processes, but {started} "
            f"were started: use torchrun --nproc-per-node {trainer.devices} -m dcnrun train ..."
        )
    if config.data.batch_size % max(processes, 1):
        yield f"data.batch_size={config.data.batch_size} must be divisible by the {processes} processes"

    if config.logger.mlflow and find_spec("mlflow") is None:
        yield "logger.mlflow=true needs a package: pip install 'dcnrun[mlflow]'"
    if config.logger.tensorboard and find_spec("tensorboard") is None:
        yield "logger.tensorboard=true needs the package of that name: pip install 'dcnrun[tensorboard]'"

    model = config.model
    if trainer.channels_last and isinstance(model, ResNetModelConfig) and model.width < _LEAST_WIDTH:
        yield (
            f"model.width={model.width} must be at least {_LEAST_WIDTH}, or trainer.channels_last=false: on narrower "
            "channels-last maps, oneDNN writes past its memory (uxlfoundation/oneDNN#6035)"
        )
