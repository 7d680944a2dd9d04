"""ResNets of torchvision as backbones: any width, dilated to the wanted output stride, with given weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision.models
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d

from dcnrun.config.schema import PUBLISHED_WIDTH, Backbone, ModelConfig
from dcnrun.errors import UsageError

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

    `channels` and `strides` (input pixels per feature pixel) describe the features of each stage.
    """

    def __init__(self, backbone: Backbone, width: int) -> None:
        block, depths = BACKBONES[backbone]
        super().__init__(block, depths)
        if width != PUBLISHED_WIDTH:
            self._build_stages(block, depths, width)
        self.channels = {f"c{stage + 2}": width * block.expansion * 2**stage for stage in range(4)}
        self.strides = {f"c{stage + 2}": 4 * 2**stage for stage in range(4)}
        self.out_channels = self.channels["c5"]
        del self.avgpool, self.fc

    def _build_stages(self, block: type[BasicBlock | Bottleneck], depths: list[int], width: int) -> None:
        self.inplanes = width
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        for stage, depth in enumerate(depths):
            layer = self._make_layer(block, width * 2**stage, depth, stride=1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", layer)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, out_channels, H / output stride, W / output stride), rounded up."""
        return self.features(image)["c5"]

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to each stage's (N, channels, H / stride, W / stride), rounded up: the finest, c2, first."""
        c2 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(image)))))
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return {"c2": c2, "c3": c3, "c4": c4, "c5": self.layer4(c4)}


def build_backbone(model: ModelConfig) -> ResNetBackbone:
    """Build the backbone of a config: weights loaded, then dilated to its output stride, then frozen as it says."""
    backbone = ResNetBackbone(model.backbone, model.width)
    if model.weights is not None:
        load_weights(backbone, model.backbone, model.weights)
    set_output_stride(backbone, model.output_stride, model.atrous)
    freeze(backbone, model.frozen_stages, model.frozen_norm)
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


def freezing_problems(model: ModelConfig, replaced: Sequence[str]) -> list[str]:
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


def load_weights(backbone: nn.Module, name: Backbone, weights: str) -> None:
    """Load a torchvision weight name (DEFAULT, IMAGENET1K_V1) or a file of a state dict into the backbone.

    UsageError says what is wrong: no such name or file, nothing in it that fits, or another shape.
    """
    path = Path(weights)
    state = _read_state(path) if path.suffix or path.exists() else _download_state(name, weights)
    state = {key.removeprefix("backbone."): value for key, value in state.items()}
    wanted = backbone.state_dict()
    for key in wanted.keys() & state.keys():
        if wanted[key].shape != state[key].shape:
            raise UsageError(
                f"model.weights={weights}: {key} has shape {tuple(state[key].shape)}, but {name.value} needs "
                f"{tuple(wanted[key].shape)}. Set model.backbone and model.width to what the weights were made for."
            )
    missing = [key for key in wanted.keys() - state.keys() if not key.endswith("num_batches_tracked")]
    if missing:
        raise UsageError(
            f"model.weights={weights} lacks {len(missing)} of the {len(wanted)} tensors of {name.value}, "
            f"{sorted(missing)[0]} for one: it is not a state dict of this backbone."
        )
    backbone.load_state_dict({key: state[key] for key in wanted.keys() & state.keys()}, strict=False)


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"model.weights={path}: no such file.") from None
    except Exception as error:  # a damaged or foreign file fails in many ways
        raise UsageError(f"model.weights={path} can't be read as a file of tensors: {error}") from error
    for key in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"model.weights={path} holds no state dict (names to tensors).")
    return state


def _download_state(name: Backbone, weights: str) -> dict[str, Tensor]:
    try:
        offered = torchvision.models.get_model_weights(name.value)
    except ValueError:
        raise UsageError(
            f"model.weights={weights}: torchvision has no weights of {name.value}; give a file or null."
        ) from None
    if weights not in offered.__members__:
        raise UsageError(
            f"model.weights={weights} is neither a file nor one of {name.value}'s weights: {', '.join(offered.__members__)}"
        )
    try:
        return offered[weights].get_state_dict(progress=False, check_hash=True)  # type: ignore[no-any-return]
    except (URLError, OSError) as error:
        raise UsageError(
            f"model.weights={weights} can't be downloaded ({error}). Fetch {offered[weights].url} elsewhere and give the file."
        ) from error
