"""Preparation of a run: everything that a config names is built and shown; `--dry-run` ends there."""

from typing import Any, TypeAlias

import torch
from lightning_fabric import Fabric
from rich.table import Table

from dcnrun.config.compose import to_yaml
from dcnrun.config.schema import Config
from dcnrun.console import console
from dcnrun.data import LabelledDataset
from dcnrun.errors import DataError
from dcnrun.runs import RunFolder
from dcnrun.tasks.build import BuiltModel, build_model, forward_flops, parameter_count
from dcnrun.tasks.registry import task_of
from dcnrun.tasks.validate import check
from dcnrun.training.launch import launch
from dcnrun.training.loop import Training
from dcnrun.training.monitor import OffsetMonitor
from dcnrun.training.optim import build_optimizer, learning_rates, set_learning_rates
from dcnrun.training.trained_run import without_weights
from dcnrun.training.validation import image_size, in_memory_format

AnyTraining: TypeAlias = Training[Any, Any, Any]


def prepare(config: Config, pretrained: bool = True) -> tuple[AnyTraining, BuiltModel]:
    """Build everything a config names: devices, data, network, optimizer; without its weights unless `pretrained`."""
    fabric, task = launch(config), task_of(config.model)
    torch.manual_seed(config.seed + fabric.global_rank)
    with fabric.rank_zero_first():  # which fetches the data, where they are asked to be fetched
        train_set, val_set = task.dataset(config.data, "train"), task.dataset(config.data, "val")
    _require_same_classes(train_set, val_set)
    model = build_model(config if pretrained else without_weights(config), len(train_set.classes))
    raw_model = in_memory_format(model.network, config)
    network, optimizer = fabric.setup(raw_model, build_optimizer(raw_model, config.optim, fabric.device.type))
    monitor = OffsetMonitor(raw_model)
    return Training(config, task, fabric, raw_model, val_set, network, optimizer, train_set, monitor), model


def dry_run(config: Config) -> dict[str, Any]:
    """Print the resolved config, the replaced layers, parameters, FLOPs and steps; return them."""
    check(config)
    training, model = prepare(config)
    height, width = image_size(training)
    parameters, flops = parameter_count(model.network), forward_flops(model, height, width)
    epochs = config.trainer.steps * config.data.batch_size / len(training.train_set)
    result = {
        "config": to_yaml(config),
        "replaced": [vars(layer) for layer in model.replaced],
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
    console.print(f"{parameters:,} parameters")
    console.print(f"{flops / 1e9:.2f} GFLOPs for an image of {height}x{width}")
    console.print(
        f"{config.trainer.steps} steps of {config.data.batch_size} images: {epochs:.1f} epochs of "
        f"{len(training.train_set)} images; validation on {len(training.val_set)}"
    )
    return result


def describe(training: AnyTraining, model: BuiltModel, folder: RunFolder | None) -> None:
    """Print what will be trained: layers replaced and the learning rate of each parameter group."""
    config = training.config
    if folder is not None:
        say(training.fabric, f"Run folder: {folder.path}")
    layers = ", ".join(layer.name for layer in model.replaced) or "none"
    say(training.fabric, f"{config.conv.kind.value} convolution in: {layers}")
    set_learning_rates(training.optimizer, config.optim, config.optim.warmup_steps, config.trainer.steps)
    rates = "  ".join(
        f"{name.removeprefix('train/')} {rate:.3g}" for name, rate in learning_rates(training.optimizer).items()
    )
    say(training.fabric, f"Learning rates after warm-up: {rates}")


def say(fabric: Fabric, message: str) -> None:
    """Print a line, in the first process alone."""
    if fabric.is_global_zero:
        console.print(message, markup=False, soft_wrap=True)


def _require_same_classes(train_set: LabelledDataset[Any, Any], val_set: LabelledDataset[Any, Any]) -> None:
    if train_set.classes != val_set.classes:
        raise DataError(
            f"The classes to train on are {', '.join(train_set.classes)}, but those to validate on are "
            f"{', '.join(val_set.classes)}: give both the same, in the same order."
        )
