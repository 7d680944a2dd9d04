"""Follow feature maps through a network: where their pixels lie in the image, and which layer computed them."""

from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from dcnrun.offsets.grid import Grid, Pair

# Operations that leave every pixel where it is, beside those that PyTorch tags as pointwise.
_KEEP = {
    *("_to_copy", "_unsafe_view", "alias", "cat", "detach", "expand", "lift_fresh", "select", "split", "squeeze"),
    *("split_with_sizes", "stack", "unbind", "unsqueeze", "view", "_log_softmax", "_softmax", "native_dropout"),
    *("_batch_norm_no_update", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "_prelu_kernel"),
    *("cudnn_batch_norm", "miopen_batch_norm", "native_batch_norm", "native_group_norm"),
}


@dataclass(frozen=True)
class Trail:
    """What is known of a feature map."""

    grid: Grid
    source: str | None = None
    """The layer that computed it, with no operation since that mixes pixels."""
    depth: int = 0
    """The number of convolutions in sequence before it, since the last pooling or resizing."""


class FeatureMapTracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tracks, while it is active, the grid of each feature map that is computed from the image.

    It sees the operators that PyTorch dispatches, so it does not matter how the network is written. Where feature maps are
    joined (added, concatenated, multiplied), the result gets the trail of the one with most convolutions before it: in a
    residual block the main path and not the shortcut, in a feature pyramid the lateral feature map and not the upsampled
    one. The result of an operator that is not known here is not tracked.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.image_size = size_of(image)
        self._trails: MutableMapping[Tensor, Trail] = WeakTensorKeyDictionary()
        self.record(image, Trail(Grid()))

    def record(self, feature_map: Tensor, trail: Trail) -> None:
        """Store the trail of a feature map."""
        self._trails[feature_map] = trail

    def trail(self, feature_map: Tensor) -> Trail:
        """Return the trail of a feature map; one that is not tracked is taken to span the image."""
        return self._trails.get(feature_map) or Trail(Grid.spanning(size_of(feature_map), self.image_size))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute an operation and track its feature maps."""
        outputs = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        tracked = [tensor for tensor in tensors if tensor in self._trails]
        if tracked:
            arguments = _named(func, args, kwargs or {})
            for output in tree_leaves(outputs):
                if isinstance(output, Tensor) and output.dim() >= 3:
                    self._follow(func, arguments, tracked, output)
        return outputs

    def _follow(self, func: Any, arguments: dict[str, Any], inputs: list[Tensor], output: Tensor) -> None:
        name = func.overloadpacket.__name__
        first = next(iter(arguments.values()))
        trail = None
        if name == "copy_":
            trail = self._copied(arguments["src"], output)
        elif torch.Tag.pointwise in func.tags or name in _KEEP:
            same_size = [self._trails[each] for each in inputs if size_of(each) == size_of(output)]
            trail = max(same_size, key=lambda trail: trail.depth, default=None)
        elif isinstance(first, Tensor) and first in self._trails:
            trail = _moved(name, arguments, self._trails[first], size_of(first), size_of(output))
        if trail is not None:
            self.record(output, trail)
        else:
            self._trails.pop(output, None)

    def _copied(self, source: Tensor, target: Tensor) -> Trail | None:
        """Return the trail of a feature map that is copied into another one.

        A larger one gets the trail too if the copy is its upper left corner, as when images are padded."""
        trail = self._trails.get(source)
        whole = target._base
        if trail and whole is not None and whole.storage_offset() == target.storage_offset():
            self.record(whole, trail)
        return trail


def size_of(feature_map: Tensor) -> Pair:
    """Return (H, W) of a feature map (..., H, W)."""
    return feature_map.shape[-2], feature_map.shape[-1]


def _moved(name: str, arguments: dict[str, Any], trail: Trail, size: Pair, new_size: Pair) -> Trail | None:
    """Return the trail after an operation that moves or mixes pixels; None if the operation is not known."""
    grid = trail.grid
    match name:
        case "convolution" | "deform_conv2d":
            return _convolved(arguments, trail)
        case "avg_pool2d" | "max_pool2d_with_indices" | "mkldnn_max_pool2d":
            kernel_size = _pair(arguments["kernel_size"])
            stride = _pair(arguments["stride"] or kernel_size)
            dilation = _pair(arguments.get("dilation", 1))
            return Trail(grid.windows(kernel_size, stride, _pair(arguments["padding"]), dilation))
        case "_adaptive_avg_pool2d" | "adaptive_max_pool2d" | "amax" | "mean" | "sum":
            return trail if size == new_size else Trail(grid.resized(size, new_size))
        case "upsample_nearest2d":
            return Trail(grid.picked(_ratio(arguments, size, new_size)))
        case "_upsample_nearest_exact2d" | "upsample_bicubic2d" | "upsample_bilinear2d":
            if arguments.get("align_corners", False):
                return Trail(grid.resized(size, new_size, align_corners=True))
            return Trail(grid.zoomed(_ratio(arguments, size, new_size)))
        case "_upsample_bicubic2d_aa" | "_upsample_bilinear2d_aa":
            return Trail(grid.resized(size, new_size, arguments["align_corners"]))
        case "constant_pad_nd":
            left, _, top, _ = (*arguments["pad"], 0, 0)[:4]
            return replace(trail, grid=grid.moved(-top, -left))
        case "reflection_pad2d" | "replication_pad2d":
            left, _, top, _ = arguments["padding"]
            return Trail(grid.moved(-top, -left))
        case "slice":
            return _sliced(arguments, trail)
    return None


def _convolved(arguments: dict[str, Any], trail: Trail) -> Trail:
    """Return the trail after a convolution; a pointwise one leaves pixels where they are.

    The recorder replaces the trail where it knows the convolution's module."""
    kernel_size = size_of(arguments["weight"])
    stride, padding, dilation = (_pair(arguments[key]) for key in ("stride", "padding", "dilation"))
    if arguments.get("transposed", False):
        return Trail(trail.grid.spread(kernel_size, stride, padding, dilation), None, trail.depth + 1)
    if (kernel_size, stride, padding) == ((1, 1), (1, 1), (0, 0)) and "offset" not in arguments:
        return trail
    return Trail(trail.grid.windows(kernel_size, stride, padding, dilation), None, trail.depth + 1)


def _sliced(arguments: dict[str, Any], trail: Trail) -> Trail:
    sliced, step = arguments["self"], arguments["step"]
    axis = arguments["dim"] % sliced.dim() - (sliced.dim() - 2)
    if axis < 0:
        return trail
    first = range(sliced.shape[axis - 2])[arguments["start"] : None].start
    grid = trail.grid
    moved = grid.moved(first, 0) if axis == 0 else grid.moved(0, first)
    return replace(trail, grid=moved.thinned((step, 1) if axis == 0 else (1, step)))


def _ratio(arguments: dict[str, Any], size: Pair, new_size: Pair) -> tuple[float, float]:
    """Return how many old pixels wide a new one is, from the scales that were given, else from the sizes."""
    scales = arguments.get("scales_h"), arguments.get("scales_w")
    ratios = [1 / s if s else old / new for s, old, new in zip(scales, size, new_size, strict=True)]
    return ratios[0], ratios[1]


def _pair(value: Any) -> Pair:
    values = [value] if isinstance(value, int) else list(value)
    return values[0], values[-1]


def _named(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return an operator's arguments by name, with defaults."""
    schema = func._schema.arguments
    named = {argument.name: argument.default_value for argument in schema}
    named.update(zip(named, args, strict=False))
    return named | kwargs
