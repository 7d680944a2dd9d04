"""From a config to a network, and what it costs."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dcnrun.config.schema import Config, ConvConfig, ConvKind, Head
from dcnrun.models.backbones import OUTPUT_STRIDES, PUBLISHED_WIDTH, ResNetBackbone, build_backbone
from dcnrun.models.convert import ReplacedLayer, conversion_problems, convert
from dcnrun.models.segmentation import deeplab, deeplabv3, fcn
from dcnrun.models.segmentation.network import SegmentationNetwork

_HEADS = {Head.deeplab: deeplab.build_head, Head.deeplabv3: deeplabv3.build_head, Head.fcn: fcn.build_head}


@dataclass(frozen=True)
class BuiltModel:
    """A network and the layers of it that hold the kind of convolution under comparison."""

    network: SegmentationNetwork
    replaced: list[ReplacedLayer]


def build_model(config: Config, num_classes: int) -> BuiltModel:
    """Build the network of a config from its seed: all kinds of convolution start with the same shared weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        backbone = build_backbone(config.model)
        head = _HEADS[config.model.head](config.model, backbone.out_channels, num_classes)
    replaced = convert(backbone, config.conv, config.seed)
    return BuiltModel(SegmentationNetwork(backbone, head), replaced)


def parameter_count(network: nn.Module) -> int:
    """Number of learnt values."""
    return sum(parameter.numel() for parameter in network.parameters())


def forward_flops(network: nn.Module, height: int, width: int) -> int:
    """Floating-point operations (2 per multiply-add) of one image's forward pass, counted without computing it.

    Bilinear sampling of deformable layers is counted; normalisation, activations and resizing are not.
    """
    was_training = network.training
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in network.state_dict().items()}
    counter = FlopCounterMode(display=False)
    network.eval()
    with torch.no_grad(), counter:
        torch.func.functional_call(network, shapes, (torch.empty(1, 3, height, width, device="meta"),))
    network.train(was_training)
    return int(counter.get_total_flops())


def model_problems(config: Config) -> list[str]:
    """What keeps a config's model from being built, each problem a line naming the key and the value."""
    model, conv = config.model, config.conv
    problems = []
    for key, value in (
        ("model.width", model.width),
        ("model.head_channels", model.head_channels),
        ("model.head_dilation", model.head_dilation),
        ("conv.groups", conv.groups),
        ("conv.offset_groups", conv.offset_groups),
        ("conv.dilation", conv.dilation),
    ):
        if value is not None and value < 1:
            problems.append(f"{key}={value} must be at least 1")
    if model.output_stride not in OUTPUT_STRIDES:
        problems.append(
            f"model.output_stride={model.output_stride} must be one of {', '.join(map(str, OUTPUT_STRIDES))}"
        )
    if model.head_kernel not in (1, 3):
        problems.append(f"model.head_kernel={model.head_kernel} must be 1 or 3")
    if conv.mask_start not in (0.5, 1.0):
        problems.append(f"conv.mask_start={conv.mask_start} must be 0.5 or 1")
    if model.weights is not None and model.width != PUBLISHED_WIDTH and not model.weights.endswith((".pt", ".pth")):
        problems.append(
            f"model.weights={model.weights} needs model.width={PUBLISHED_WIDTH}, but model.width={model.width}"
        )
    problems += _conv_kind_problems(config)
    if model.width >= 1:
        with torch.device("meta"):  # only the layers' names and channels are wanted
            backbone = ResNetBackbone(model.backbone, model.width)
        problems += conversion_problems(backbone, conv)
    return problems


def has_offset_branches(conv: ConvConfig) -> bool:
    """Whether a network with this setting has layers that learn offsets."""
    return conv.kind in (ConvKind.deformable, ConvKind.modulated) and conv.layers.strip() != "0"


def _conv_kind_problems(config: Config) -> list[str]:
    """Settings that the chosen kind of convolution would silently ignore, or lacks."""
    conv, kind = config.conv, config.conv.kind
    problems = []
    if kind is ConvKind.dilated and conv.dilation is None:
        problems.append("conv.dilation=null: conv=dilated needs a dilation, e.g. conv.dilation=4")
    if kind is ConvKind.standard and conv.dilation is not None:
        problems.append(f"conv.dilation={conv.dilation} does nothing with conv=standard: use conv=dilated")
    if kind in (ConvKind.standard, ConvKind.dilated) and conv.offset_groups != 1:
        problems.append(f"conv.offset_groups={conv.offset_groups} does nothing with conv={kind.value}")
    if kind is not ConvKind.modulated and conv.mask_start != 1:
        problems.append(f"conv.mask_start={conv.mask_start} does nothing with conv={kind.value}")
    return problems
