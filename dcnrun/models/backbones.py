"""Backbones: ResNets of torchvision of any width, dilated to the wanted output stride, and encoders of other libraries."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d

from dcnrun.config.schema import PUBLISHED_WIDTH, Backbone, ResNetModelConfig, ResNetStem, ResNetStyle, encoder_of
from dcnrun.models.encoders import STAGE_STRIDES, build_encoder, freeze_norm
from dcnrun.models.weights import RGB, Weights, read_weights

BACKBONES: dict[Backbone, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    Backbone.resnet18: (BasicBlock, [2, 2, 2, 2]),
    Backbone.resnet34: (BasicBlock, [3, 4, 6, 3]),
    Backbone.resnet50: (Bottleneck, [3, 4, 6, 3]),
    Backbone.resnet101: (Bottleneck, [3, 4, 23, 3]),
}
"""The residual block of each ResNet and how many of them its four stages have; torchvision has weights by the same names."""
_PARTS = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")  # in the order of the forward pass


class ResNetBackbone(ResNet):  # type: ignore[misc]
    """torchvision's ResNet without its classifier: computes the features of the stages c2 to c5 of an image.

    `channels` and `strides` (input pixels per feature pixel) describe the features of each stage; `bands` those of images.
    """

    conv1: nn.Module

    def __init__(
        self,
        backbone: Backbone,
        width: int,
        bands: int = RGB,
        style: ResNetStyle = ResNetStyle.pytorch,
        stem: ResNetStem = ResNetStem.plain,
    ) -> None:
        block, depths = BACKBONES[backbone]
        super().__init__(block, depths)
        if width != PUBLISHED_WIDTH:
            self._build_stages(block, depths, width)
        if stem is ResNetStem.deep:
            self.conv1 = _deep_stem(bands, width)
        elif bands != RGB:
            first = nn.Conv2d(bands, width, kernel_size=7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
            self.conv1 = first
        self.channels = {f"c{stage + 2}": width * block.expansion * 2**stage for stage in range(4)}
        self.strides = {f"c{stage + 2}": 4 * 2**stage for stage in range(4)}
        self.out_channels = self.channels["c5"]
        del self.avgpool, self.fc
        if style is ResNetStyle.caffe:
            for module in self.modules():
                if isinstance(module, Bottleneck):
                    module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride

    def _build_stages(self, block: type[BasicBlock | Bottleneck], depths: list[int], width: int) -> None:
        self.inplanes = width
        self.conv1 = nn.Conv2d(RGB, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        for stage, depth in enumerate(depths):
            layer = self._make_layer(block, width * 2**stage, depth, stride=1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", layer)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """(N, bands, H, W) to (N, out_channels, H / output stride, W / output stride), rounded up."""
        return self.features(image)["c5"]

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """(N, bands, H, W) to each stage's (N, channels, H / stride, W / stride), rounded up: the finest, c2, first."""
        c2 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(image)))))
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return {"c2": c2, "c3": c3, "c4": c4, "c5": self.layer4(c4)}


def _deep_stem(bands: int, channels: int) -> nn.Sequential:
    """Return three 3x3 convolutions in the place of a ResNet's first, by timm's names; the normalisation of the last is the ResNet's."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((bands, channels // 2, 2), (channels // 2, channels // 2, 1)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    stem = nn.Sequential(*layers, nn.Conv2d(channels // 2, channels, 3, padding=1, bias=False))
    for layer in stem:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return stem


class EncoderBackbone(nn.Module):
    """An encoder of segmentation_models.pytorch or timm, whose last four feature maps are the stages.

    Described as a ResNet's are: by `channels`, `strides` and `out_channels`.
    """

    def __init__(self, name: str, bands: int = RGB) -> None:
        super().__init__()
        encoder: Any = build_encoder(name, bands)
        self.encoder = encoder
        self.strides = dict(STAGE_STRIDES)
        self.channels = dict(zip(self.strides, encoder.out_channels[-len(self.strides) :], strict=True))
        self.out_channels = self.channels["c5"]

    def forward(self, image: Tensor) -> Tensor:
        """(N, bands, H, W) to (N, out_channels, H / 32, W / 32), rounded up."""
        return self.features(image)["c5"]

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """(N, bands, H, W) to each stage's (N, channels, H / stride, W / stride), rounded up: the finest, c2, first.

        Encoders take multiples of their last stride: zeros at the right and below bring the image there.
        """
        height, width = image.shape[-2:]
        last = self.strides["c5"]
        maps = self.encoder(pad(image, (0, -width % last, 0, -height % last)))[-len(self.strides) :]
        return {
            stage: features[..., : -(-height // stride), : -(-width // stride)]
            for (stage, stride), features in zip(self.strides.items(), maps, strict=True)
        }


StagedBackbone: TypeAlias = ResNetBackbone | EncoderBackbone
"""What computes the features of stages."""


def build_backbone(model: ResNetModelConfig, weights: Weights | None = None, bands: int = RGB) -> StagedBackbone:
    """Build the backbone of a config for images of so many bands: weights loaded, then dilated to its output stride, then frozen as it says.

    `weights` are those that the config names, where they were read before.
    """
    weights = weights or read_weights(model)
    if (encoder := encoder_of(model)) is not None:
        return _build_encoder_backbone(encoder, weights, bands, model.frozen_norm)
    backbone = ResNetBackbone(model.backbone, model.width, bands, model.style, model.stem)
    if weights:
        weights.load_into_backbone(backbone, model.backbone, style=model.style, stem=model.stem)
    set_output_stride(backbone, model.output_stride, model.atrous)
    freeze(backbone, model.frozen_stages, model.frozen_norm)
    return backbone


def _build_encoder_backbone(name: str, weights: Weights | None, bands: int, frozen_norm: bool) -> EncoderBackbone:
    backbone = EncoderBackbone(name, bands)
    if weights:
        weights.load_into_backbone(backbone.encoder, name, "model.encoder")
    if frozen_norm:
        freeze_norm(backbone)
    return backbone


def set_output_stride(backbone: ResNetBackbone, output_stride: int, atrous: bool = True) -> None:
    """Trade the stride of the last stages for dilation, in place; with `atrous` False remove the stride and dilate nothing.

    Each strided layer becomes dense, and all that follow it, in its stage and after, are dilated, so every weight meets the
    same pixels as before: the features are those of the strided network, computed at more pixels (the à trous algorithm).
    """
    stride, dilation = 4, 1
    for name, stage in (("c3", backbone.layer2), ("c4", backbone.layer3), ("c5", backbone.layer4)):
        keeps_stride = stride < output_stride
        stage_dilation = dilation if keeps_stride or not atrous else dilation * 2
        stride = stride * 2 if keeps_stride else stride
        backbone.strides[name] = stride
        for layer in (module for module in stage.modules() if isinstance(module, nn.Conv2d)):
            is_strided = layer.stride != (1, 1)
            if is_strided and not keeps_stride:
                layer.stride = (1, 1)
            if layer.kernel_size == (3, 3):
                d = dilation if is_strided else stage_dilation
                layer.dilation, layer.padding = (d, d), (d, d)
        dilation = stage_dilation


def freeze(backbone: ResNetBackbone, stages: int, norm: bool) -> None:
    """Keep the first stages from learning (1: conv1, 2: conv1 and c2, up to 5), and with `norm` all normalisation.

    Frozen normalisation computes with the statistics that it has, also while training.
    """
    parts = _frozen_parts(stages)
    for part in parts:
        backbone.get_submodule(part).requires_grad_(False)
    for name, module in list(backbone.named_modules()):
        if isinstance(module, nn.BatchNorm2d) and (norm or name.startswith(parts)):
            frozen = FrozenBatchNorm2d(module.num_features, module.eps)
            frozen.load_state_dict(module.state_dict())
            backbone.set_submodule(name, frozen)


def freezing_problems(model: ResNetModelConfig, replaced: Sequence[str]) -> list[str]:
    """Return what is wrong with the stages that a config freezes, each problem a line.

    `replaced` are the layers under comparison, which must learn.
    """
    frozen = [name for name in replaced if name.startswith(_frozen_parts(model.frozen_stages))]
    return [
        f"model.frozen_stages={model.frozen_stages} keeps {len(frozen)} of the layers that conv.layers selects from "
        f"learning, {name} for one: freeze fewer stages or replace later layers"
        for name in frozen[:1]
    ]


def _frozen_parts(stages: int) -> tuple[str, ...]:
    return _PARTS[: stages + 1] if stages else ()
