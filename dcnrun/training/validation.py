"""Scores and speed of a network on its validation images."""

import statistics
import time
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from dcnrun.config.schema import Config
from dcnrun.data import LabelledDataset, eval_batches
from dcnrun.scores import order_of
from dcnrun.tasks.task import BatchT, Evaluation, PredictionT, SampleT, Task

# The first batches of a process pay for allocations and kernel choices; they don't count as throughput.
WARM_UP_BATCHES = 3
TIMED_BATCHES = 15


@dataclass
class Inference(Generic[SampleT, BatchT, PredictionT]):
    """A network on its device, and the images that it is validated on."""

    config: Config
    task: Task[SampleT, BatchT, PredictionT]
    fabric: Fabric
    raw_model: nn.Module  # without Fabric's wrappers: names and weights
    val_set: LabelledDataset[SampleT, BatchT]

    @property
    def evaluated(self) -> nn.Module:
        """The network whose scores and speed are measured."""
        return self.raw_model

    @cached_property
    def val_order(self) -> NDArray[np.intp]:
        """The index of each validation image, in the order in which results per image have them: that of their names."""
        return order_of([self.val_set.name(index) for index in range(len(self.val_set))])


def in_memory_format(network: nn.Module, config: Config) -> nn.Module:
    """Return the network, its weights in the memory format that the config gives feature maps."""
    return network.to(memory_format=torch.channels_last) if config.trainer.channels_last else network


def validate(inference: Inference[SampleT, BatchT, PredictionT]) -> Evaluation:
    """Score the validation images; each counts once, over any number of processes."""
    fabric, network = inference.fabric, inference.evaluated
    evaluator = inference.task.evaluator(inference.val_set)
    was_training = network.training
    network.eval()
    _share_running_statistics(inference)
    batches = eval_batches(
        inference.val_set, inference.config.data, rank=fabric.global_rank, world_size=fabric.world_size
    )
    with torch.inference_mode(), closing(batches):
        for loaded in batches:
            batch = on_device(loaded, fabric, inference.config)
            # the raw model: evaluation needs none of DDP's synchronisation, and ranks may have different counts
            with fabric.autocast():
                predictions = inference.task.predict(network, batch)
            evaluator.update(predictions, batch)
    network.train(was_training)
    return evaluator.result()


def inference_speed(inference: Inference[SampleT, BatchT, PredictionT]) -> float:
    """Return the images a second that one process infers, from the median time of a validation batch; nothing else runs beside it."""
    fabric = inference.fabric
    config = inference.config
    batch = on_device(first_batch(inference, config.data.eval_batch_size), fabric, config)
    inference.evaluated.eval()
    times = []
    with torch.inference_mode(), fabric.autocast():
        for _ in range(WARM_UP_BATCHES + TIMED_BATCHES):
            _wait_for(fabric)
            started = time.perf_counter()
            inference.task.predict(inference.evaluated, batch)
            _wait_for(fabric)
            times.append(time.perf_counter() - started)
    return len(batch["image"]) / statistics.median(times[WARM_UP_BATCHES:])


def image_size(inference: Inference[SampleT, BatchT, PredictionT]) -> tuple[int, int]:
    """Return height and width that FLOPs are counted for: the training crop, else the first validation image as the network sees it."""
    crop = inference.config.data.crop_size
    if crop:
        return crop, crop
    height, width = first_batch(inference, 1)["image"].shape[-2:]
    return height, width


def first_batch(inference: Inference[SampleT, BatchT, PredictionT], size: int) -> BatchT:
    """Return the first `size` validation images."""
    data = replace(inference.config.data, workers=0, eval_batch_size=size)
    return next(iter(eval_batches(inference.val_set, data)))


def on_device(batch: BatchT, fabric: Fabric, config: Config) -> BatchT:
    """Return the batch on the network's device, in its memory format."""
    moved: BatchT = fabric.to_device(batch)
    if config.trainer.channels_last:
        moved["image"] = moved["image"].contiguous(memory_format=torch.channels_last)
    return moved


def _share_running_statistics(inference: Inference[SampleT, BatchT, PredictionT]) -> None:
    """Give every process the batch-norm statistics of the first, which are the ones that checkpoints hold."""
    if inference.fabric.world_size > 1:
        for buffer in inference.evaluated.buffers():
            torch.distributed.broadcast(buffer, src=0)


def _wait_for(fabric: Fabric) -> None:
    if fabric.device.type == "cuda":
        torch.cuda.synchronize(fabric.device)
