"""Everything that keeps a config from running, checked together before anything is built."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from dcnrun.config.groups import LABELS_IN_WORDS
from dcnrun.config.machine import machine_problems
from dcnrun.config.schema import (
    CONV_TRAITS,
    PUBLISHED_WIDTH,
    Config,
    DataConfig,
    Dilation,
    ResNetModelConfig,
    ResNetStem,
    SmpConfig,
    encoder_of,
)
from dcnrun.config.validate import config_problems, range_problems, without_consequences
from dcnrun.data import LabelledDataset, labels_of
from dcnrun.data import problems as data_problems
from dcnrun.data.bands import settle
from dcnrun.data.contents import changed_contents, contents_of
from dcnrun.data.files import first_few
from dcnrun.data.overlap import require_apart
from dcnrun.data.registry import offered_choices
from dcnrun.data.sample import Split
from dcnrun.errors import ConfigError, DcnrunError, UsageError
from dcnrun.models.backbones import ResNetBackbone, freezing_problems, set_output_stride
from dcnrun.models.convert import conversion_problems, plain_convolutions, selected_layers
from dcnrun.models.outline import convolutions_of
from dcnrun.models.weights import names_file
from dcnrun.tasks.registry import task_of


def check(config: Config, are_started: bool = True) -> None:
    """Raise ConfigError with everything that is wrong with a config, not only the first thing.

    `are_started` says whether this is one of the run's processes, or they are to be started from here.
    """
    out_of_range = range_problems(config)
    others = [*model_problems(config), *data_problems(config.data), *machine_problems(config, are_started)]
    problems = [*config_problems(config), *without_consequences(out_of_range, others)]
    if problems:
        raise ConfigError(problems)


def check_images(config: Config, train_set: LabelledDataset[Any, Any], val_set: LabelledDataset[Any, Any]) -> None:
    """Raise unless every class can be learnt, and the validation images can be scored by the config's metric and are not trained on."""
    _check_metric(config, val_set)
    train_set.require_every_class()
    require_apart(config.data, train_set, val_set)


def check_images_of(config: Config) -> None:
    """Do the same before any run is started; images that can't be opened from here are left to the runs."""
    train_set, val_set = _images(config, "train"), _images(config, "val")
    if val_set is not None:
        _check_metric(config, val_set)
    if train_set is not None:
        train_set.require_every_class()
        task_of(config.model).settled(config.model, train_set)  # refuses what does not fit the classes
    if train_set is not None and val_set is not None:
        require_apart(config.data, train_set, val_set)


def changed_data(config: Config, begun: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a line for what has changed in a config's images or labels since runs began; nothing where they can't be opened from here.

    Args:
        config: with the data of all of the runs.
        begun: what the runs' env.json holds, by their folders.
    """
    train_set, val_set = (_images(config, "train"), _images(config, "val")) if begun else (None, None)
    if train_set is None or val_set is None:
        return []
    now = contents_of(train_set, val_set)
    older: dict[str, list[str]] = {}
    for folder, environment in begun.items():
        if changed := changed_contents(environment, now):
            older.setdefault(" and ".join(changed), []).append(folder)
    return [
        f"{what} are not those that {first_few(folders, 2)} began with, whose scores are of the old ones. Move these runs away, and they are trained again."
        for what, folders in older.items()
    ]


def settled(config: Config) -> tuple[DataConfig, Mapping[str, Any], int]:
    """Return what a run's training images settle: the settings of the data, with bands, mean and deviation; those of the network
    that are left to the images; and how many images there are."""
    task = task_of(config.model)
    train_set = task.dataset(config.data, "train")
    return settle(config.data, train_set)[0], task.settled(config.model, train_set), len(train_set)


def why_standard(config: Config) -> str | None:
    """Return why a dilated network is the standard one: its layers have that dilation as they are. None where it is another."""
    conv = config.conv
    if CONV_TRAITS[conv.kind].dilation is not Dilation.required or conv.dilation != _own_dilation(config):
        return None
    return f"the layers of conv.layers={conv.layers} are dilated by {conv.dilation} as they are"


def _own_dilation(config: Config) -> int | None:
    """Return the dilation that the layers under comparison have in the network as it is, by its output stride too; None where they differ."""
    model = config.model
    convolutions = convolutions_of(model)
    layers: Mapping[str, nn.Conv2d] = {each.name: each.layer for each in convolutions}
    if isinstance(model, ResNetModelConfig) and encoder_of(model) is None:
        with torch.device("meta"):
            backbone = ResNetBackbone(model.backbone, model.width)
        set_output_stride(backbone, model.output_stride, model.atrous)
        layers = plain_convolutions(backbone)
    dilations = {rate for name in selected_layers(convolutions, config.conv) for rate in layers[name].dilation}
    return dilations.pop() if len(dilations) == 1 else None


def why_not_scored(config: Config, metric: str) -> str | None:
    """Return why the validation images can't be scored by a metric; None where they can, or can't be opened from here."""
    dataset = _images(config, "val")
    return _why_not_scored(config, metric, dataset) if dataset else None


def _images(config: Config, split: Split) -> LabelledDataset[Any, Any] | None:
    try:
        return task_of(config.model).dataset(replace(config.data, download=False), split)
    except ConfigError:  # the images are here, and settings don't fit them
        raise
    except DcnrunError:
        return None


def _check_metric(config: Config, dataset: LabelledDataset[Any, Any]) -> None:
    traits = task_of(config.model).traits
    metric = traits.metric(config)
    if why := _why_not_scored(config, metric, dataset):
        others = ", ".join(name for name in traits.metric_names if name != metric)
        raise UsageError(f"trainer.metric={metric}: {why}. Go by another ({others}), or validate on other images.")


def _why_not_scored(config: Config, metric: str, dataset: LabelledDataset[Any, Any]) -> str | None:
    lacking = task_of(config.model).lacking(metric, dataset)
    return lacking and f"none of the {len(dataset)} validation images has {lacking}, so there is nothing to score"


def model_problems(config: Config) -> list[str]:
    """Return what keeps a config's model from being built, each problem a line naming the key and the value."""
    problems = [*_task_problems(config)]
    model = config.model
    if model.weights_of is not None and model.weights is not None and not names_file(model.weights):
        problems.insert(
            0,
            f"model.weights_of={model.weights_of} chooses a network of a file, but model.weights={model.weights} names "
            "published weights: leave it out, or name a file",
        )
    if encoder_of(model) is not None:
        return problems or _placement_problems(config)
    assert isinstance(model, ResNetModelConfig)
    if model.weights is not None and model.width != PUBLISHED_WIDTH and not names_file(model.weights):
        problems.insert(
            0, f"model.weights={model.weights} needs model.width={PUBLISHED_WIDTH}, but model.width={model.width}"
        )
    if model.stem is ResNetStem.deep and model.width == 1:
        problems.append(
            "model.width=1 must be at least 2 with model.stem=deep, which begins with half as many channels"
        )
    if model.width >= 1:
        problems += _placement_problems(config)
    return problems


def _placement_problems(config: Config) -> list[str]:
    model, conv = config.model, config.conv
    try:
        convolutions = convolutions_of(model)
    except ValueError as error:
        if isinstance(model, SmpConfig):
            return [f"model.arch={model.arch} with model.encoder={model.encoder} can't be built: {error}"]
        return [
            f"model.encoder={encoder_of(model)} can't carry a feature pyramid: {str(error).rstrip('.')}. One with feature maps of strides 4, 8, "
            "16 and 32 of images of any size can: those of ConvNeXt, EfficientNet, MobileNet, RegNet, ResNet, Swin and most others with stages"
        ]
    if problems := conversion_problems(convolutions, conv):
        return problems
    if encoder_of(model) is not None:
        return []
    assert isinstance(model, ResNetModelConfig)
    return freezing_problems(model, selected_layers(convolutions, conv))


def _task_problems(config: Config) -> Iterator[str]:
    task = task_of(config.model)
    traits = task.traits
    if traits.labels not in labels_of(config.data):
        yield (
            f"model={config.model.head} learns from {LABELS_IN_WORDS[traits.labels]}, and data={config.data.source} has none: "
            f"choose {offered_choices(traits.labels)}, or another model"
        )
    if traits.metric(config) not in traits.metric_names:
        yield f"trainer.metric={config.trainer.metric} must be one of {', '.join(traits.metric_names)}, or null"
    yield from task.problems(config)
