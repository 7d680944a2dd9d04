"""Hooks that record what each convolution and each RoI pooling did with one image."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from inspect import signature
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn

from dcnrun.errors import UsageError
from dcnrun.models.roi_pool import PlainRoIPool
from dcnrun.models.sampling import SamplingConv, SamplingLayer, sampling_layers
from dcnrun.offsets.grid import Grid, Pair
from dcnrun.offsets.layers import Capture, Layer, RoIs
from dcnrun.offsets.recording.regions import pooled_regions
from dcnrun.offsets.recording.trace import FeatureMapTracer, Trail, size_of

_Geometry = tuple[Pair, Pair, Pair, Pair]


@dataclass(frozen=True)
class _Call:
    """What a hook records of one call of a convolution."""

    module: nn.Conv2d
    module_name: str
    offset: Tensor | None
    mask: Tensor | None
    input_size: Pair
    output_size: Pair
    input_grid: Grid
    output_grid: Grid
    source: str | None


class Recorder:
    """Records a network's convolutions and RoI poolings; `requested` names convolutions to keep even if they are plain."""

    def __init__(self, model: nn.Module, requested: Sequence[str]) -> None:
        in_branches = {m for layer in sampling_layers(model).values() for m in layer.offset_branch.modules()}
        self._convolutions = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, nn.Conv2d) and module not in in_branches
        }
        self._poolings = {name: module for name, module in model.named_modules() if isinstance(module, PlainRoIPool)}
        self._requested = set(requested)
        self._calls: dict[str, _Call] = {}
        self._rois: dict[str, RoIs] = {}
        self._branch_outputs: dict[nn.Module, Tensor] = {}
        self._check()

    def _check(self) -> None:
        if unknown := self._requested - self._convolutions.keys():
            raise UsageError(
                f"The network has no convolution {sorted(unknown)[0]!r}; it has {', '.join(self._convolutions)}."
            )
        modules = *self._convolutions.values(), *self._poolings.values()
        if not self._requested and not any(isinstance(module, SamplingLayer) for module in modules):
            raise UsageError(
                "The network has no deformable layer. Name the convolutions to look at: the argument `layers`."
            )

    @contextmanager
    def recording(self, batch: Tensor) -> Iterator[None]:
        """Record, while active, what the network does with the batch."""
        with ExitStack() as stack:
            self._image_size = size_of(batch)
            self._tracer = stack.enter_context(FeatureMapTracer(batch))
            for name, module in self._convolutions.items():
                self._hook(stack, module, self._on_convolution(name))
            for name, pooling in self._poolings.items():
                self._hook(stack, pooling, self._on_pooling(name))
            yield

    def _hook(self, stack: ExitStack, module: nn.Module, hook: Any) -> None:
        stack.enter_context(module.register_forward_hook(hook, with_kwargs=True))
        if isinstance(module, SamplingLayer):

            def record(_: nn.Module, __: Any, output: Tensor) -> None:
                self._branch_outputs[module] = output

            stack.enter_context(module.offset_branch.register_forward_hook(record))

    def _offsets_of(self, module: nn.Module) -> tuple[Tensor | None, Tensor | None]:
        """Return the offsets and mask from the last output of the module's offset branch, if it has one."""
        if isinstance(module, SamplingLayer):
            return module.split_branch(self._branch_outputs.pop(module))
        return None, None

    def _on_convolution(self, name: str) -> Any:
        def record(module: nn.Conv2d, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            offset, mask = self._offsets_of(module)
            feature_map = args[0] if args else kwargs["input"]
            is_layer = offset is not None or name in self._requested or not _is_pointwise(module)
            if not is_layer or feature_map.dim() != 4 or len(feature_map) != 1:
                return
            trail = self._tracer.trail(feature_map)
            grid = trail.grid.windows(*_geometry(module))
            call = _Call(
                module, name, offset, mask, size_of(feature_map), size_of(output), trail.grid, grid, trail.source
            )
            unique = _unique(name, self._calls)
            self._calls[unique] = call
            self._tracer.record(output, Trail(grid, unique, trail.depth + 1))

        return record

    def _on_pooling(self, name: str) -> Any:
        def record(module: PlainRoIPool, args: tuple[Any, ...], kwargs: dict[str, Any], _: Tensor) -> None:
            offset, mask = self._offsets_of(module)
            given = signature(module.forward).bind(*args, **kwargs).arguments
            pooled = {level: each for level, each in given["x"].items() if level in module.featmap_names}
            grids = {level: self._tracer.trail(each).grid for level, each in pooled.items()}
            unique = _unique(name, self._rois)
            self._rois[unique] = pooled_regions(unique, module, given["boxes"], grids, offset, mask)

        return record

    def result(self) -> Capture:
        """Return what was recorded, without the plain convolutions that are not needed."""
        ran = {call.module_name for call in self._calls.values()}
        if missing := self._requested - ran:
            raise UsageError(f"The convolution {sorted(missing)[0]!r} did not run on a feature map of the image.")
        kept = self._kept()
        if not kept and not self._rois:
            raise UsageError("None of the network's deformable layers ran on a feature map of the image.")
        layers = tuple(_layer(name, self._calls[name], kept) for name in self._calls if name in kept)
        return Capture(self._image_size, layers, tuple(self._rois.values()))

    def _kept(self) -> set[str]:
        """Return the names of the requested calls, and of those on the way from one to the next."""
        requested = {
            n for n, call in self._calls.items() if call.offset is not None or call.module_name in self._requested
        }
        kept = set(requested)
        for name in requested:
            between: list[str] = []
            source = self._calls[name].source
            while source is not None and source not in requested:
                between.append(source)
                source = self._calls[source].source
            if source is not None:
                kept.update(between)
        return kept


def _unique(name: str, taken: dict[str, Any]) -> str:
    calls = sum(other == name or other.startswith(f"{name}:") for other in taken)
    return f"{name}:{calls + 1}" if calls else name


def _is_pointwise(module: nn.Conv2d) -> bool:
    kernel_size, stride, padding, _ = _geometry(module)
    return (kernel_size, stride, padding) == ((1, 1), (1, 1), (0, 0))


def _geometry(module: nn.Conv2d) -> _Geometry:
    """Return kernel size, stride, padding above and to the left, and dilation."""
    padding: Any = module.padding
    if (
        isinstance(padding, str) or module.padding_mode != "zeros"
    ):  # what PyTorch then pads with: left, right, top, bottom
        left, _, top, _ = module._reversed_padding_repeated_twice
        padding = top, left
    return cast(_Geometry, (module.kernel_size, module.stride, padding, module.dilation))


def _layer(name: str, call: _Call, kept: set[str]) -> Layer:
    module = call.module
    kernel_size, stride, padding, dilation = _geometry(module)
    groups = module.offset_groups if isinstance(module, SamplingConv) else 1
    shape = groups, prod(kernel_size)
    if call.offset is None:
        offset = torch.zeros(()).expand(*shape, 2, *call.output_size)
    else:
        offset = call.offset.float().cpu().reshape(*shape, 2, *call.output_size)
    return Layer(
        name=name,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=module.groups,
        offset_groups=groups,
        input_size=call.input_size,
        output_size=call.output_size,
        offset=offset,
        mask=None if call.mask is None else call.mask.float().cpu().reshape(*shape, *call.output_size),
        point_weight=_point_weight(module, groups),
        deformable=call.offset is not None,
        input_grid=call.input_grid,
        output_grid=call.output_grid,
        source=call.source if call.source in kept else None,
    )


def _point_weight(module: nn.Conv2d, offset_groups: int) -> Tensor:
    """Return (offset_groups, K): the norm of all weights that read a sampling point in the channels of a group."""
    weight = module.weight.detach().float().cpu()
    per_channel = weight.reshape(module.groups, -1, *weight.shape[1:]).square().sum(1)  # (groups, C / groups, kh, kw)
    return per_channel.reshape(offset_groups, -1, prod(module.kernel_size)).sum(1).sqrt()
