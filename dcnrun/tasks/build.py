"""From a config to a network, and what it costs."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dcnrun.config.schema import IMAGENET_MEAN, IMAGENET_STD, Config, DataConfig, ModelConfig, SmpConfig
from dcnrun.errors import UsageError
from dcnrun.models.backbones import EncoderBackbone
from dcnrun.models.convert import ReplacedLayer, convert
from dcnrun.models.encoders import note_on_dilation
from dcnrun.models.outline import convolutions_of
from dcnrun.models.weights import RGB, Weights, read_weights
from dcnrun.tasks.registry import ARCHITECTURES, task_of
from dcnrun.tasks.task import AnyTask


@dataclass(frozen=True)
class BuiltModel:
    """A network and the layers of it that hold the kind of convolution under comparison."""

    task: AnyTask
    network: nn.Module
    replaced: list[ReplacedLayer]
    bands: int
    """The bands of its images."""
    loaded: str | None = None
    """What of `model.weights` was loaded, in words."""


def build_model(config: Config, num_classes: int) -> BuiltModel:
    """Build the network of a config from its seed: all kinds of convolution start with the same shared weights."""
    weights = read_weights(config.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = ARCHITECTURES[config.model.head].build(config.model, num_classes, config.data.channels, weights)
    if weights and weights.turned_to_rgb:
        _require_imagenet(config.data)
    convolutions = convolutions_of(config.model)
    replaced = convert(network.get_submodule("backbone"), config.conv, config.seed, convolutions)
    loaded = _load_rest(weights, network, config.model) if weights else None
    return BuiltModel(task_of(config.model), network, replaced, config.data.channels, loaded)


def _load_rest(weights: Weights, network: nn.Module, model: ModelConfig) -> str:
    """Load what stands on the backbone and in its new layers, and say what was loaded."""
    if isinstance(model, SmpConfig):  # by the library's names, with or without ours before them
        of_whole_network = weights.prefix.endswith("encoder.")
        if not of_whole_network and (note := note_on_dilation(model)):
            weights.notes = (*weights.notes, note)
        return weights.load_into_network(network.get_submodule("backbone"), "encoder.")
    if isinstance(network.get_submodule("backbone"), EncoderBackbone):
        return weights.load_into_network(network, "backbone.encoder.")
    return weights.load_into_network(network)


def _require_imagenet(data: DataConfig) -> None:
    """Raise UsageError unless images are normalised as networks from Caffe, once turned to RGB, need it."""
    if data.channels == RGB and (data.mean, data.std) != ([*IMAGENET_MEAN], [*IMAGENET_STD]):
        raise UsageError(
            f"data.mean={data.mean} data.std={data.std}: model.style=caffe with weights of others needs images normalised with ImageNet's, "
            f"data.mean={[*IMAGENET_MEAN]} data.std={[*IMAGENET_STD]}."
        )


def parameter_count(network: nn.Module) -> int:
    """Number of learnt values."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def forward_flops(model: BuiltModel, height: int, width: int) -> int:
    """Floating-point operations (2 per multiply-add) of one image's forward pass, counted without computing it.

    Bilinear sampling of deformable layers is counted; normalisation, activations and resizing are not.
    """
    network = model.network
    was_training = network.training
    shapes = {
        f"network.{name}": torch.empty_like(tensor, device="meta") for name, tensor in network.state_dict().items()
    }
    image = torch.empty(1, model.bands, height, width, device="meta")
    counter = FlopCounterMode(display=False)
    network.eval()
    with torch.no_grad(), counter:
        torch.func.functional_call(_Dense(model), shapes, (image,))
    network.train(was_training)
    return int(counter.get_total_flops())


class _Dense(nn.Module):
    """The part of a network whose cost is always the same, as a module that can be given other weights."""

    def __init__(self, model: BuiltModel) -> None:
        super().__init__()
        self.task = model.task
        self.network = model.network

    def forward(self, image: Tensor) -> None:
        self.task.dense_forward(self.network, image)
