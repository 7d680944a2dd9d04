"""Preparation of a run: everything that a config names is built and shown; `--dry-run` ends there."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.table import Table

from dcnrun.config.compose import to_yaml, with_steps
from dcnrun.config.schema import Config
from dcnrun.console import console, printable
from dcnrun.data.bands import settle
from dcnrun.models.outline import convolutions_of
from dcnrun.models.weights import listed
from dcnrun.runs import RunFolder
from dcnrun.tasks.build import BuiltModel, build_model, forward_flops, parameter_count
from dcnrun.tasks.registry import task_of
from dcnrun.tasks.validate import check, check_images, why_standard
from dcnrun.training.launch import launch
from dcnrun.training.loop import Training
from dcnrun.training.monitor import OffsetMonitor
from dcnrun.training.optim import build_average, build_optimizer, learning_rates
from dcnrun.training.trained_run import matched_by_name, without_weights
from dcnrun.training.validation import image_size, in_memory_format

AnyTraining: TypeAlias = Training[Any, Any, Any]


def prepare(
    config: Config, pretrained: bool = True, classes: Sequence[str] | None = None
) -> tuple[AnyTraining, BuiltModel]:
    """Build everything a config names: devices, data, network, optimizer; without its weights unless `pretrained`.

    The labels are numbered as `classes`, which a run that is resumed has learnt, else as the images to train on have them.
    """
    fabric, task = launch(config), task_of(config.model)
    seed_everything(config.seed + fabric.global_rank)
    with fabric.rank_zero_first():  # which fetches the data, where they are asked to be fetched
        train_set = task.dataset(config.data, "train")
        data, notes = settle(config.data, train_set)
        val_set = task.dataset(data, "val")
    config = replace(config, data=data)
    train_set.notes = [*train_set.notes, *notes]
    if classes is not None:
        train_set = matched_by_name(train_set, classes, "the run", fabric.is_global_zero)
    settled = task.settled(config.model, train_set)
    measured = [f"measured on the training images: model.{key}={value}" for key, value in settled.items()]
    train_set.notes = [*train_set.notes, *measured]
    config = replace(config, model=replace(config.model, **settled))
    val_set = matched_by_name(val_set, train_set.classes, "the images to train on", fabric.is_global_zero)
    config = with_steps(config, len(train_set))
    model = build_model(config if pretrained else without_weights(config), len(train_set.classes))
    raw_model = in_memory_format(model.network, config)
    ema = config.optim.ema  # before hooks are on the network, which would be copied
    average = None if ema is None else build_average(raw_model, ema, fabric.device)
    network, optimizer = fabric.setup(raw_model, build_optimizer(raw_model, config.optim, fabric.device.type))
    monitor = OffsetMonitor(raw_model)
    return Training(config, task, fabric, raw_model, val_set, network, optimizer, train_set, monitor, average), model


def dry_run(config: Config) -> dict[str, Any]:
    """Print the resolved config, the replaced layers, parameters, FLOPs and steps; return them."""
    check(config)
    training, model = prepare(config)
    check_images(config, training.train_set, training.val_set)
    height, width = image_size(training)
    parameters, flops = parameter_count(model.network), forward_flops(model, height, width)
    config = training.config
    replaced = {layer.name for layer in model.replaced}
    others = [each.name for each in convolutions_of(config.model) if each.name not in replaced]
    epochs = config.trainer.steps * training.images_per_step / len(training.train_set)
    result = {
        "config": to_yaml(config),
        "replaced": [vars(layer) for layer in model.replaced],
        "others": others,
        "parameters": parameters,
        "flops": flops,
        "image_size": [height, width],
        "train_images": len(training.train_set),
        "val_images": len(training.val_set),
        "steps": config.trainer.steps,
        "epochs": epochs,
    }
    console.print(to_yaml(config), markup=False)
    describe(training, model, folder=None)
    table = Table("layer", "channels", "stride", "dilation", title=f"Layers that become {config.conv.kind.value}")
    for layer in model.replaced:
        table.add_row(
            layer.name, f"{layer.in_channels} -> {layer.out_channels}", str(layer.stride), str(layer.dilation)
        )
    console.print(table)
    if others:
        console.print(f"Others that conv.layers can name: {listed(others)}", markup=False)
    console.print(f"{parameters:,} parameters")
    console.print(f"{flops / 1e9:.2f} GFLOPs for an image of {height}x{width}")
    console.print(
        f"{config.trainer.steps} steps of {training.images_per_step} images: {epochs:.1f} epochs of "
        f"{len(training.train_set)} images; validation on {len(training.val_set)}"
    )
    return result


def describe(training: AnyTraining, model: BuiltModel, folder: RunFolder | None) -> None:
    """Print what will be trained: layers replaced and the learning rate of each parameter group."""
    config = training.config
    if folder is not None:
        say(training.fabric, f"Run folder: {folder.path}")
    for split, notes in data_notes(training).items():
        for note in notes:
            say(training.fabric, f"data.{split}: {printable(note)}")
    if model.loaded:
        say(training.fabric, model.loaded)
    layers = ", ".join(layer.name for layer in model.replaced) or "none"
    say(training.fabric, f"{config.conv.kind.value} convolution in: {layers}")
    if why := why_standard(config):
        say(training.fabric, f"This is the standard network: {why}. Give another conv.dilation.")
    optim = config.optim
    rates = [
        f"{name.removeprefix('train/')} {optim.lr * group['lr_mult']:.3g}"
        for name, group in zip(learning_rates(training.optimizer), training.optimizer.param_groups, strict=True)
    ]
    warmup = f"{optim.warmup_steps} steps of warm-up, then " if optim.warmup_steps else ""
    say(training.fabric, f"Learning rates: {'  '.join(rates)}, times the schedule ({warmup}{optim.schedule.value})")
    if optim.ema is not None:
        window, steps = 1 / (1 - optim.ema), config.trainer.steps
        early = ", in which the first steps weigh much: a smaller optim.ema forgets them" if 3 * window > steps else ""
        say(training.fabric, f"Evaluated and kept: the average of the weights over about {window:.0f} steps{early}")


def data_notes(training: AnyTraining) -> dict[str, list[str]]:
    """Return what the files of each split were taken for where they can be read in two ways."""
    return {"train": list(training.train_set.notes), "val": list(training.val_set.notes)}


def seed_everything(seed: int) -> None:
    """Start every random generator from a seed: nothing of a run draws from those of Python and NumPy, but a library may."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def say(fabric: Fabric, message: str) -> None:
    """Print a line, in the first process alone."""
    if fabric.is_global_zero:
        console.print(message, markup=False, soft_wrap=True)
