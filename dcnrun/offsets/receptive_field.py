"""The effective receptive field: which pixels of the image an output depends on, and how much (Luo et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor, nn

from dcnrun.errors import UsageError
from dcnrun.offsets.capture import as_batch, evaluating, raw_model
from dcnrun.offsets.grid import Grid, Pair
from dcnrun.offsets.recording.trace import FeatureMapTracer, size_of


@dataclass(frozen=True)
class ReceptiveField:
    """How much each pixel of the image contributes to one output location."""

    share: Tensor
    """(H, W) float32 on the CPU: absolute derivatives, summed over the image's channels; sums to 1, or 0 where nothing matters."""
    location: tuple[float, float]
    """(y, x) of the output location in the image: the centre of a layer's pixel, or the image pixel of the network's output."""

    def radius(self, fraction: float) -> float:
        """Return the radius in image pixels of the disc around the location that contains a fraction of the field.

        NaN if no pixel contributes to the output.
        """
        y, x = self.location
        height, width = self.share.shape
        distance = torch.hypot(torch.arange(height)[:, None] - y, torch.arange(width) - x).flatten()
        order = distance.argsort()
        enough = self.share.flatten()[order].double().cumsum(0) >= fraction * self.share.double().sum() * (1 - 1e-9)
        return float(distance[order][enough.int().argmax()]) if self.share.any() else nan


def receptive_field(
    model: nn.Module,
    image: Tensor,
    layer: str | None,
    y: int,
    x: int,
    forward: Callable[[Tensor], object] | None = None,
) -> ReceptiveField:
    """Compute the effective receptive field of one pixel (y, x); the other arguments are those of `receptive_fields`."""
    return receptive_fields(model, image, layer, [(y, x)], forward)[0]


def receptive_fields(
    model: nn.Module,
    image: Tensor,
    layer: str | None,
    query_points: Sequence[Pair],
    forward: Callable[[Tensor], object] | None = None,
) -> list[ReceptiveField]:
    """Compute the effective receptive fields of some pixels of a layer's output, or of the network's if `layer` is None.

    The field is |d out(y, x) / d image|, summed over the image's channels; gradients flow through the sampled values and
    through the sampling positions. For a layer, `out` is the sum of its channels, each with a random sign (drawn from a fixed
    seed): in a plain sum the gradients of similar channels cancel. With one such sum the radius is within some percent of the
    mean over many. For the network, `out` is the score of the class that wins at this pixel. The network runs forward once,
    whatever the number of query points.

    Args:
        model: any network; it and its mode stay as they were.
        image: (3, H, W) as the network takes it, normalised.
        layer: a module's name; of several calls the first counts.
        query_points: rows and columns (y, x) on the output feature map, whose pixels may be coarser than the image's.
        forward: what to call with the batch (1, 3, H, W) instead of the model.

    Raises:
        UsageError: no such layer, a location outside the output, or an output that is not a feature map (1, C, H, W) of the image.
    """
    raw = raw_model(model)
    leaf = as_batch(raw, image).detach().clone().requires_grad_()
    with evaluating(raw), torch.enable_grad():
        output, grid = _output(raw, layer, leaf, forward or raw)
        height, width = size_of(output)
        fields = []
        for y, x in query_points:
            if not (0 <= y < height and 0 <= x < width):
                raise UsageError(
                    f"({y}, {x}) is outside the output of {layer or 'the network'}: {height} x {width} pixels."
                )
            channels = output[0, :, y, x]
            signs = torch.randint(2, (len(channels),), generator=torch.Generator().manual_seed(0)) * 2 - 1
            score = channels.max() if layer is None else signs.to(channels) @ channels
            (gradient,) = torch.autograd.grad(score, leaf, retain_graph=True)
            slopes = gradient.abs().sum((0, 1)).float().cpu()
            share = slopes / total if (total := slopes.sum()) > 0 else slopes
            location = grid.to_image(torch.tensor([y, x], dtype=torch.float64)).tolist()
            fields.append(ReceptiveField(share, (location[0], location[1])))
    return fields


def _output(
    model: nn.Module, layer: str | None, leaf: Tensor, forward: Callable[[Tensor], object]
) -> tuple[Tensor, Grid]:
    """Return the feature map that a layer, or the network, computes from the image, and its grid."""
    batch = leaf.clone()  # the network may overwrite it
    outputs: list[object] = []
    with FeatureMapTracer(batch) as tracer:
        if layer is None:
            outputs.append(forward(batch))
        else:
            try:
                module = model.get_submodule(layer)
            except AttributeError:
                raise UsageError(f"The network has no layer {layer!r}; names are those of `named_modules`.") from None
            with module.register_forward_hook(lambda *call: outputs.append(call[-1])):
                forward(batch)
    output = outputs[0] if outputs else None
    if not isinstance(output, Tensor) or output.dim() != 4 or len(output) != 1 or not output.requires_grad:
        what = "The network's output" if layer is None else f"The output of {layer}"
        raise UsageError(
            f"{what} is not a feature map (1, channels, H, W) of the image; name a layer whose output is one."
        )
    # The network's output at a pixel is a prediction for that pixel, wherever the features lie that it is computed from.
    grid = Grid.spanning(size_of(output), size_of(leaf)) if layer is None else tracer.trail(output).grid
    return output, grid
