"""Hooks that record what each convolution and each RoI pooling did with one image."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from inspect import signature
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn

from dcnrun.errors import UsageError
from dcnrun.models.roi_pool import PlainRoIPool
from dcnrun.models.sampling import SamplingConv, SamplingLayer, sampling_layers
from dcnrun.offsets.grid import Pair
from dcnrun.offsets.layers import Capture, Layer, RoIs
from dcnrun.offsets.recording.regions import pooled_regions
from dcnrun.offsets.recording.trace import FeatureMapTracer, Trail, size_of

_Geometry = tuple[Pair, Pair, Pair, Pair]


class Recorder:
    """Records a network's convolutions and RoI poolings; `requested` names convolutions to keep even if they are plain."""

    def __init__(self, model: nn.Module, requested: Sequence[str]) -> None:
        in_branches = {m for layer in sampling_layers(model).values() for m in layer.offset_branch.modules()}
        self._convolutions = {
            name: module
            for name, module in model.named_modules()
            if _is_convolution(module) and module not in in_branches
        }
        self._poolings = {name: module for name, module in model.named_modules() if isinstance(module, PlainRoIPool)}
        self._requested = set(requested)
        self._layers: dict[str, Layer] = {}
        self._wanted: set[str] = set()  # of the layers, those that are deformable or requested
        self._ran: set[str] = set()
        self._rois: dict[str, RoIs] = {}
        self._branch_outputs: dict[nn.Module, Tensor] = {}
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
        def record(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            offset, mask = self._offsets_of(module)
            feature_map = args[0] if args else kwargs["input"]
            kernel_size, stride, padding, dilation = _geometry(module)
            is_pointwise = (kernel_size, stride, padding) == ((1, 1), (1, 1), (0, 0))
            is_wanted = offset is not None or name in self._requested
            if (is_pointwise and not is_wanted) or feature_map.dim() != 4 or len(feature_map) != 1:
                return
            trail = self._tracer.trail(feature_map)
            grid = trail.grid.windows(kernel_size, stride, padding, dilation)
            groups = module.offset_groups if isinstance(module, SamplingConv) else 1
            shape, output_size = (groups, prod(kernel_size)), size_of(output)
            still = torch.zeros(()).expand(*shape, 2, *output_size)
            unique = _unique(name, self._layers)
            self._layers[unique] = Layer(
                name=unique,
                kernel_size=kernel_size,
                stride=stride,
                padding=padding,
                dilation=dilation,
                groups=module.groups,
                offset_groups=groups,
                input_size=size_of(feature_map),
                output_size=output_size,
                offset=still if offset is None else offset.float().cpu().reshape(still.shape),
                mask=None if mask is None else mask.float().cpu().reshape(*shape, *output_size),
                point_weight=_point_weight(module, groups),
                deformable=offset is not None,
                input_grid=trail.grid,
                output_grid=grid,
                source=trail.source,
            )
            self._ran.add(name)
            if is_wanted:
                self._wanted.add(unique)
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
        if missing := self._requested - self._ran:
            raise UsageError(f"The convolution {sorted(missing)[0]!r} did not run on a feature map of the image.")
        kept = self._kept()
        if not kept and not self._rois:
            raise UsageError("None of the network's deformable layers ran on a feature map of the image.")
        layers = tuple(
            layer if layer.source in kept else replace(layer, source=None)
            for name, layer in self._layers.items()
            if name in kept
        )
        return Capture(self._image_size, layers, tuple(self._rois.values()))

    def _kept(self) -> set[str]:
        """Return the names of the wanted layers, and of those on the way from one to the next."""
        kept = set(self._wanted)
        for name in self._wanted:
            between: list[str] = []
            source = self._layers[name].source
            while source is not None and source not in self._wanted:
                between.append(source)
                source = self._layers[source].source
            if source is not None:
                kept.update(between)
        return kept


def _is_convolution(module: nn.Module) -> bool:
    """Whether a module computes what its settings say: one that pads by itself, as timm's Conv2dSame, is followed operator by operator."""
    computes_as_set = isinstance(module, nn.Conv2d) and type(module).forward is nn.Conv2d.forward
    return computes_as_set or isinstance(module, SamplingConv)


def _unique(name: str, taken: dict[str, Any]) -> str:
    calls = sum(other == name or other.startswith(f"{name}:") for other in taken)
    return f"{name}:{calls + 1}" if calls else name


def _geometry(module: Any) -> _Geometry:
    """Return kernel size, stride, padding above and to the left, and dilation."""
    padding: Any = module.padding
    if isinstance(padding, str) or module.padding_mode != "zeros":
        # what PyTorch then pads with: left, right, top, bottom
        left, _, top, _ = module._reversed_padding_repeated_twice
        padding = top, left
    return cast(_Geometry, (module.kernel_size, module.stride, padding, module.dilation))


def _point_weight(module: nn.Module, offset_groups: int) -> Tensor:
    """Return (offset_groups, K): the norm of all weights that read a sampling point in the channels of a group.

    Ones of a layer that has no weights of a kernel: there the factors alone weigh the points.
    """
    if not isinstance(module, nn.Conv2d):
        return torch.ones(offset_groups, prod(cast(Pair, module.kernel_size)))
    weight = module.weight.detach().float().cpu()
    per_channel = weight.reshape(module.groups, -1, *weight.shape[1:]).square().sum(1)  # (groups, C / groups, kh, kw)
    return per_channel.reshape(offset_groups, -1, prod(module.kernel_size)).sum(1).sqrt()
