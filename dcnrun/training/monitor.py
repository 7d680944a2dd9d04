"""Watch a network while it trains: offsets that run away, and the first layer where numbers stop being finite."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dcnrun.config.schema import Config, Precision
from dcnrun.models.sampling import RUNAWAY_SHARE, Sampling, SamplingLayer, outside, sampling_layers


class OffsetMonitor:
    """Hooks on the layers that sample at learnt points, convolutions and RoI pooling.

    In every training step they note whether offsets and masks are finite; where `measure` is set, also how large offsets
    are and how many sampling points lie outside the feature map. The hooks only read.
    """

    def __init__(self, network: nn.Module) -> None:
        self.layers = sampling_layers(network)
        self.measure = False
        self._finite: dict[str, Tensor] = {}
        self._outputs: dict[str, Tensor] = {}
        self._outside: dict[str, Tensor] = {}
        self._lost: dict[str, Tensor] = {}
        self._size: dict[str, Tensor] = {}
        self._warned: set[str] = set()
        self._handles: list[RemovableHandle] = []
        for name, layer in self.layers.items():
            self._handles.append(layer.offset_branch.register_forward_hook(self._on_branch(name)))
            self._handles.append(
                network.get_submodule(name).register_forward_hook(self._on_layer(name), with_kwargs=True)
            )

    def _on_branch(self, name: str) -> Any:
        def note(_: nn.Module, __: Any, output: Tensor) -> None:
            if torch.is_grad_enabled():
                self._outputs[name] = output.detach()
                self._finite[name] = self._outputs[name].isfinite().all()

        return note

    def _on_layer(self, name: str) -> Any:
        def measure(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], __: Any) -> None:
            branch = self._outputs.pop(name, None)
            if branch is None or not self.measure:
                return
            with torch.no_grad():
                sampling = self.layers[name].sampling(*args, **kwargs, branch=branch)
                if not sampling.offset.numel():  # no region of an object to pool
                    for measured in (self._outside, self._lost, self._size):
                        measured.pop(name, None)
                    return
                lies_outside = outside(sampling.y, sampling.x, sampling.size)
                self._outside[name] = lies_outside.float().mean()
                self._lost[name] = _share_lost(sampling, lies_outside)
                self._size[name] = sampling.offset.abs().mean()

        return measure

    def first_not_finite(self) -> str | None:
        """Return the name of the first layer whose offsets or mask were not finite in the last forward pass."""
        return next((name for name, finite in self._finite.items() if not finite), None)

    def with_branch(self, module: str) -> str | None:
        """Return the name of the layer whose offset branch the module of a name is or belongs to."""
        return next((name for name in self.layers if f"{module}.".startswith(_below(name, "offset_branch."))), None)

    def values(self) -> dict[str, float]:
        """Return the share of sampling points outside the feature map and the mean size of offsets in its pixels.

        `offset_outside/<layer>` and `offset_abs/<layer>` of each layer, and their means over layers: of convolutions
        `train/offset_outside` and `train/offset_abs`, of RoI pooling `train/roi_offset_outside` and `train/roi_offset_abs`.
        The sampling points of RoI pooling are the centres of bins, each on the feature map its region is pooled from.
        """
        means: dict[str, float] = {}
        each: dict[str, float] = {}
        for what, measured in (("outside", self._outside), ("abs", self._size)):
            by_kind: dict[str, list[float]] = {}
            for name, value in measured.items():
                each[f"offset_{what}/{name}"] = float(value)
                by_kind.setdefault(self.layers[name].branch_name, []).append(float(value))
            means |= {f"train/{kind}_{what}": sum(values) / len(values) for kind, values in by_kind.items()}
        return means | each

    def runaway_layers(self) -> dict[str, float]:
        """Return the layers that lost more than RUNAWAY_SHARE of the sampling points that the plain grid has in the
        feature map, with that share; each layer once a run."""
        lost = {name: float(share) for name, share in self._lost.items()}
        new = {name: share for name, share in lost.items() if share > RUNAWAY_SHARE and name not in self._warned}
        self._warned |= new.keys()
        return new

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()


def _share_lost(sampling: Sampling, lies_outside: Tensor) -> Tensor:
    """Return the share outside of the sampling points that the plain grid has in the feature map.

    Points that offsets brought into the feature map make up for none.
    """
    plain = ~outside(sampling.plain_y, sampling.plain_x, sampling.size)
    return (lies_outside & plain).float().mean() / plain.float().mean()


def _below(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child  # the network itself may be the layer


def first_layer_not_finite(network: nn.Module, forward: Callable[[], object]) -> str | None:
    """Return the name of the first layer of a network whose output is not finite, found by one more forward pass."""
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

    layers = [(n, m) for n, m in network.named_modules() if not any(m.children()) or isinstance(m, SamplingLayer)]
    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def suggest_fixes(config: Config, deformed: SamplingLayer | None = None) -> str:
    """Return advice for a run whose numbers are no longer finite, in terms of its own settings.

    `deformed` is the layer whose offsets are not finite, None where it is not offsets.
    """
    optim = config.optim
    advice = []
    if deformed is not None:
        current: float = getattr(optim, f"{deformed.branch_name}_multiplier")
        advice.append(f"a lower optim.{deformed.branch_name}_lr_mult (now {current:g})")
    advice.append(f"a lower optim.lr (now {optim.lr:g})")
    if optim.clip_norm is None:
        advice.append("optim.clip_norm=1")
    if optim.warmup_steps == 0:
        advice.append("some optim.warmup_steps")
    if config.trainer.precision is Precision.fp16:
        advice.append("trainer.precision=bf16 or fp32")
    return "Try " + ", or ".join(advice) + "."
