"""Write where a network sampled to an .npz file that numpy reads without pickle: all that one needs to redo the geometry.

docs/offsets.md lists the arrays and says how to get from them to positions in the image.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dcnrun.errors import UsageError
from dcnrun.offsets.grid import Grid
from dcnrun.offsets.layers import Capture, Layer, RoIs
from dcnrun.runs import replacing

Array = np.ndarray[Any, Any]


def write_arrays(captures: Mapping[str, Capture], path: Path) -> None:
    """Write the captures of one network, by the images' names; UsageError if they are not of the same layers."""
    arrays: dict[str, Any] = dict(_arrays(captures))
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _arrays(captures: Mapping[str, Capture]) -> Iterator[tuple[str, Array]]:
    if not captures:
        raise UsageError("There are no images to write arrays of.")
    name, first = next(iter(captures.items()))
    for other, capture in captures.items():
        if _names(capture) != _names(first):
            raise UsageError(f"{name} and {other} were not seen by the same layers: write them to files of their own.")
    layers = first.layers
    yield "images", np.array(list(captures), dtype=str)
    yield "layers", np.array([layer.name for layer in layers], dtype=str)
    for setting in ("kernel_size", "stride", "padding", "dilation"):
        yield setting, _integers([getattr(layer, setting) for layer in layers]).reshape(-1, 2)
    yield "offset_groups", _integers([layer.offset_groups for layer in layers])
    yield "deformable", np.array([layer.deformable for layer in layers], dtype=bool)
    yield "exact", np.array([layer.input_grid.exact for layer in layers], dtype=bool)
    yield "source", np.array([layer.source or "" for layer in layers], dtype=str)
    yield "regions", np.array([rois.name for rois in first.rois], dtype=str)
    for layer in layers:
        yield f"{layer.name}/tap_weight", _floats(layer.point_weight)
    for i, capture in enumerate(captures.values()):
        yield f"{i}/size", _integers(capture.image_size)
        for layer in capture.layers:
            for name, array in _layer_arrays(layer):
                yield f"{i}/{layer.name}/{name}", array
        for rois in capture.rois:
            for name, array in _region_arrays(rois):
                yield f"{i}/{rois.name}/{name}", array


def _layer_arrays(layer: Layer) -> Iterator[tuple[str, Array]]:
    yield "offset", _floats(layer.offset)
    yield "mask", _floats(torch.ones_like(layer.offset[:, :, 0]) if layer.mask is None else layer.mask)
    yield "input_size", _integers(layer.input_size)
    yield "output_size", _integers(layer.output_size)
    yield "input_grid", _grid_array(layer.input_grid)
    yield "output_grid", _grid_array(layer.output_grid)


def _region_arrays(rois: RoIs) -> Iterator[tuple[str, Array]]:
    yield "boxes", _floats(rois.boxes)
    yield "bins", _floats(rois.bins)
    yield "plain_bins", _floats(rois.plain_bins)
    yield "bin_size", _floats(rois.bin_size)
    yield "mask", _floats(torch.ones_like(rois.bins[..., 0]) if rois.mask is None else rois.mask)


def _names(capture: Capture) -> list[str]:
    return [*(layer.name for layer in capture.layers), *(rois.name for rois in capture.rois)]


def _integers(values: Any) -> Array:
    return np.array(values, dtype=np.int64)


def _floats(tensor: torch.Tensor) -> Array:
    return tensor.detach().to("cpu", torch.float32).numpy()


def _grid_array(grid: Grid) -> Array:
    return np.array([grid.start, grid.step], dtype=np.float32)
