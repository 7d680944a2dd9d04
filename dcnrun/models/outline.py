"""The convolutions of a config's network that can be replaced, found without its weights."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dcnrun.config.schema import Backbone, ModelConfig, ResNetModelConfig, SmpConfig, Where, encoder_of
from dcnrun.models.backbones import EncoderBackbone, ResNetBackbone
from dcnrun.models.convert import Convolution, plain_convolutions, resnet_convolutions
from dcnrun.models.encoders import STAGE_STRIDES, build_encoder, build_network, first_line
from dcnrun.models.weights import RGB

_SIDE = 160  # of an image: 32 x 5, and the only size that no encoder takes
_STAGES = {stride: stage for stage, stride in STAGE_STRIDES.items()}
ModuleT = TypeVar("ModuleT", bound=nn.Module)
_PARTS = {"encoder": Where.encoder, "decoder": Where.decoder}


def convolutions_of(model: ModelConfig) -> list[Convolution]:
    """Return the convolutions that can be replaced, in the order of the forward pass, their names as in the network's `backbone`.

    Their layers have no weights, and are shared: they are not to be changed. ValueError where the network can't be built.
    """
    if isinstance(model, SmpConfig):
        return _of_library(model.arch, model.encoder)
    assert isinstance(model, ResNetModelConfig)
    if (encoder := encoder_of(model)) is not None:
        return _of_encoder(encoder)
    return _of_resnet(model.backbone, model.width)


def learns_from_one_image(model: SmpConfig) -> bool:
    """Return whether a network can be trained on one image at a time: it normalises no features that are pooled to one pixel.

    True where it can't be built, which others say.
    """
    try:
        network = _without_weights(lambda: build_network(model, RGB, 2)).train()
        _run(network)
    except ValueError as error:
        return "more than 1 value per channel" not in str(error)
    return True


@cache
def _of_resnet(backbone: Backbone, width: int) -> list[Convolution]:
    with torch.device("meta"):
        return resnet_convolutions(ResNetBackbone(backbone, width))


@cache
def _of_library(arch: str, encoder: str) -> list[Convolution]:
    """Return the convolutions of encoder and decoder that an image passes; those that make the scores stay as they are."""
    model = SmpConfig(arch=arch, encoder=encoder)
    network = _without_weights(lambda: build_network(model, RGB, 2))
    layers = plain_convolutions(network)
    sides = _output_sides(network)
    try:  # with its strides, which some architectures trade for dilation
        stages = {f"encoder.{name}": side for name, side in _output_sides(_encoder(encoder)).items()}
    except ValueError:  # it has none: a plain vision transformer
        stages = {}
    return [
        Convolution(name, layers[name], _PARTS[part], _STAGES.get(_SIDE // stages.get(name, _SIDE)))
        for name in sides
        if (part := name.partition(".")[0]) in _PARTS and name in layers
    ]


@cache
def _of_encoder(name: str) -> list[Convolution]:
    """Return the convolutions of a backbone of this encoder; ValueError where its last feature maps don't have the strides of stages."""
    backbone = _without_weights(lambda: EncoderBackbone(name))
    layers, sides = plain_convolutions(backbone), _output_sides(backbone)
    strides = [_SIDE // features.shape[-2] for features in _run(backbone.encoder)[-len(backbone.strides) :]]
    if strides != list(backbone.strides.values()):
        raise ValueError(f"its last feature maps have strides {', '.join(map(str, strides))}")
    return [Convolution(name, layers[name], stage=_STAGES.get(_SIDE // side)) for name, side in sides.items()]


def _encoder(name: str) -> nn.Module:
    return _without_weights(lambda: build_encoder(name, RGB))


def _without_weights(build: Callable[[], ModuleT]) -> ModuleT:
    """Build a network on the meta device, or where it needs numbers on the CPU."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build()
        except ValueError:
            return build()


def _output_sides(network: nn.Module) -> dict[str, int]:
    """Return the height of the output of each convolution that ran on an image, in the order in which they ran first."""
    sides: dict[str, int] = {}

    def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            sides.setdefault(name, output.shape[-2])

        return record

    handles = [layer.register_forward_hook(recorder(name)) for name, layer in plain_convolutions(network).items()]
    try:
        _run(network.eval())
    except Exception as error:  # each network refuses in a way of its own
        raise ValueError(f"it can't take images of any size: {first_line(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
    return sides


def _run(network: nn.Module) -> Any:
    """Pass an image through a network and return what it makes of it."""
    device = next(network.parameters()).device
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        return network(torch.zeros(1, RGB, _SIDE, _SIDE, device=device))
