"""Watches a network while it trains: offsets that run away, and the first layer where numbers stop being finite."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dcnrun.config.schema import Config, Precision
from dcnrun.models.conv import DeformConv2d
from dcnrun.ops.deform_conv2d.reference import sampling_points

# Share of a layer's taps that offsets may take out of the map before the run says so.
RUNAWAY_SHARE = 0.5


class OffsetMonitor:
    """Forward hooks on the offset branches: every step whether all is finite, when asked the offsets' size and reach."""

    def __init__(self, network: nn.Module) -> None:
        self.measure = False
        self._finite: dict[str, Tensor] = {}
        self._outside: dict[str, Tensor] = {}
        self._lost: dict[str, Tensor] = {}
        self._size: dict[str, Tensor] = {}
        self._warned: set[str] = set()
        self._handles: list[RemovableHandle] = []
        for name, layer in network.named_modules():
            if isinstance(layer, DeformConv2d):
                self._handles.append(layer.offset_branch.register_forward_hook(self._hook(name, layer)))

    def _hook(self, name: str, layer: DeformConv2d) -> Any:
        def watch(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if not torch.is_grad_enabled():
                return
            output = output.detach()
            self._finite[name] = output.isfinite().all()
            if self.measure:
                offset, _mask = layer.split_branch(output)
                size = (inputs[0].shape[2], inputs[0].shape[3])
                outside = taps_outside(layer, offset, size)
                self._outside[name] = outside.float().mean()
                self._lost[name] = _share_lost(layer, outside, size)
                self._size[name] = offset.abs().mean()

        return watch

    def first_not_finite(self) -> str | None:
        """Name of the first layer whose offsets or mask were not finite in the last forward pass."""
        return next((name for name, finite in self._finite.items() if not finite), None)

    def values(self) -> dict[str, float]:
        """Share of taps that read only padding, and mean size of offsets in pixels of the feature map; over all, per layer."""
        if not self._outside:
            return {}
        outside = {f"offset_outside/{name}": float(value) for name, value in self._outside.items()}
        size = {f"offset_abs/{name}": float(value) for name, value in self._size.items()}
        means = {
            "train/offset_outside": sum(outside.values()) / len(outside),
            "train/offset_abs": sum(size.values()) / len(size),
        }
        return means | outside | size

    def runaway_layers(self) -> dict[str, float]:
        """Layers that lost more than RUNAWAY_SHARE of the taps that the plain grid has in the map; once a run each."""
        lost = {name: float(share) for name, share in self._lost.items()}
        new = {name: share for name, share in lost.items() if share > RUNAWAY_SHARE and name not in self._warned}
        self._warned |= new.keys()
        return new

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()


def taps_outside(layer: DeformConv2d, offset: Tensor, size: tuple[int, int]) -> Tensor:
    """Which sampling points have no pixel of the (H, W) map under them: they read zeros and get no gradient."""
    y, x = sampling_points(
        offset,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
    )
    return (y <= -1) | (y >= size[0]) | (x <= -1) | (x >= size[1])


def _share_lost(layer: DeformConv2d, outside: Tensor, size: tuple[int, int]) -> Tensor:
    """Of the taps that the plain grid has in the map, the share that are outside; those that came in make up for none."""
    _, taps, out_h, out_w = outside.shape
    plain = ~taps_outside(layer, torch.zeros(1, 2 * taps, out_h, out_w, device=outside.device), size)
    return (outside & plain).float().mean() / plain.float().mean()


def first_layer_not_finite(network: nn.Module, forward: Callable[[], object]) -> str | None:
    """Name of the first layer of a network whose output is not finite, found by one more forward pass."""
    found: list[str] = []
    with _hooks_on_leaves(network, found), torch.no_grad(), suppress(Exception):  # on which it may well break down
        forward()
    return found[0] if found else None


@contextmanager
def _hooks_on_leaves(network: nn.Module, found: list[str]) -> Iterator[None]:
    def hook(name: str) -> Any:
        def watch(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not output.isfinite().all():
                found.append(name)

        return watch

    layers = [(n, m) for n, m in network.named_modules() if not any(m.children()) or isinstance(m, DeformConv2d)]
    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def what_to_turn(config: Config, in_offsets: bool) -> str:
    """Advice for a run whose numbers are no longer finite, in terms of its own settings."""
    optim = config.optim
    advice = []
    if in_offsets:
        advice.append(f"a lower optim.offset_lr_mult (now {optim.offset_multiplier:g})")
    advice.append(f"a lower optim.lr (now {optim.lr:g})")
    if optim.clip_norm is None:
        advice.append("optim.clip_norm=1")
    if optim.warmup_steps == 0:
        advice.append("some optim.warmup_steps")
    if config.trainer.precision is Precision.fp16:
        advice.append("trainer.precision=bf16 or fp32")
    return "Try " + ", or ".join(advice) + "."
