"""Assemble the page: page.html with its style, its scripts and the data of the runs, in one file. Names are only ever set as text."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dcnrun.offsets.geometry import chain_to
from dcnrun.offsets.layers import Capture, Layer, RoIs
from dcnrun.pages import page as pages
from dcnrun.pages.page import Html

_FILES = Path(__file__).parent
_STYLE = _FILES / "page.css"
_SCRIPTS = [_FILES / name for name in ("geometry.js", "drawing.js", "svg.js", "gestures.js", "page.js")]
LONGEST_CHAIN = 3
JPEG_QUALITY = 90
# Offsets are encoded as integer multiples of a step in 16 bits, masks in 8; NaN and infinity have a value of their own.
OFFSET_STEPS = 32767
NOT_A_NUMBER = -32768
MASK_STEPS = 255
# Offsets are clipped to this many sizes of the feature map: the point is outside either way, and the steps stay fine.
FARTHEST_OFFSET = 2


@dataclass(frozen=True)
class PageObject:
    """An object on an image, for the slider that moves from one to the next."""

    name: str
    """Its class."""
    box: Sequence[float]
    """x1, y1, x2, y2 in image pixels, as in data sets: pixel 0 is from 0 to 1."""


@dataclass(frozen=True)
class PageImage:
    """One image and where a run's network sampled for it."""

    name: str
    """Images of the same name are shown side by side."""
    picture: npt.NDArray[np.uint8]
    """(H, W, 3), as large as the image that the network saw."""
    capture: Capture
    objects: Sequence[PageObject] = ()
    pools: Sequence[RoIs] = ()
    """The RoI poolings whose bins are shown."""


@dataclass(frozen=True)
class PageRun:
    """A run and its images."""

    name: str
    images: Sequence[PageImage]


def write_page(path: Path, runs: Sequence[PageRun]) -> None:
    """Write the page of `runs` to `path`, one HTML file that needs nothing else.

    ValueError for nothing to show, or for a picture that is not as large as what the network saw.
    """
    body = Html((_FILES / "page.html").read_text(encoding="utf-8"))
    pages.write_page(path, "Sampling points", body, _data(runs), [_STYLE], _SCRIPTS)


def _data(runs: Sequence[PageRun]) -> dict[str, Any]:
    if not any(run.images for run in runs):
        raise ValueError("a page needs at least one run with an image")
    pictures: dict[str, int] = {}  # each one once, even if several runs show it
    shown = [
        {"name": run.name, "images": [_image(image, pictures) for image in run.images]} for run in runs if run.images
    ]
    return {"runs": shown, "pictures": list(pictures)}


def _image(image: PageImage, pictures: dict[str, int]) -> dict[str, Any]:
    if image.picture.shape != (*image.capture.image_size, 3):
        raise ValueError(
            f"picture {image.name!r} is {image.picture.shape}, but the network saw an image of "
            f"{image.capture.image_size}: give it as (height, width, 3)"
        )
    return {
        "name": image.name,
        "size": image.capture.image_size,
        "picture": pictures.setdefault(_picture_address(image.picture), len(pictures)),
        "objects": [{"name": one.name, "box": [float(side) for side in one.box]} for one in image.objects],
        "layers": [_layer(layer) | {"chains": _chains(image.capture, layer.name)} for layer in image.capture.layers],
        "pools": [_pool(rois, FARTHEST_OFFSET * max(image.capture.image_size)) for rois in image.pools],
    }


def _chains(capture: Capture, name: str) -> list[list[int]]:
    """Return the chains of 1, 2, ... layers that end in this one, as indices of `capture.layers`."""
    indices = {id(layer): index for index, layer in enumerate(capture.layers)}
    chains = [[indices[id(layer)] for layer in chain_to(capture, name, n)] for n in range(1, LONGEST_CHAIN + 1)]
    return [chain for length, chain in enumerate(chains, 1) if len(chain) == length]


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kernel": layer.kernel_size,
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.offset_groups,
        "input": layer.input_size,
        "output": layer.output_size,
        "inputGrid": {"start": layer.input_grid.start, "step": layer.input_grid.step},
        "outputGrid": {"start": layer.output_grid.start, "step": layer.output_grid.step},
        "offset": _steps(layer.offset.numpy(), FARTHEST_OFFSET * max(layer.input_size)) if layer.deformable else None,
        "mask": None if layer.mask is None else _mask(layer.mask.numpy()),
        "weight": _finite(layer.point_weight.numpy()).tolist(),
    }


def _pool(rois: RoIs, farthest: float) -> dict[str, Any]:
    """Return a RoI pooling: regions and by how many image pixels their bins move; without offsets, bins divide the boxes evenly."""
    moves = (rois.bins - rois.plain_bins).numpy()
    return {
        "name": rois.name,
        "boxes": _finite(rois.boxes.numpy()).round(3).tolist(),
        "bins": rois.bins.shape[1:3],
        "moves": _steps(moves, farthest) if moves.any() else None,
        "mask": None if rois.mask is None else _mask(rois.mask.numpy()),
    }


def _steps(offsets: npt.NDArray[np.float32], farthest: float) -> dict[str, Any]:
    """Encode offsets, clipped to `farthest`, as integer multiples of `step` pixels, int16, little-endian."""
    finite = np.isfinite(offsets)
    clipped = np.where(finite, offsets, 0.0).astype(np.float64).clip(-farthest, farthest)
    step = float(np.abs(clipped).max(initial=0.0)) / OFFSET_STEPS or 1.0
    steps = np.where(finite, np.rint(clipped / step), NOT_A_NUMBER)
    return {"step": step, "steps": _base64(steps.astype("<i2").tobytes())}


def _mask(mask: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Encode the sizes of masks, which say how strong a point is, as integer multiples of `step`, uint8."""
    mask = np.abs(_finite(mask))
    step = float(mask.max(initial=0.0)) / MASK_STEPS or 1.0
    return {"step": step, "steps": _base64(np.rint(mask / step).astype(np.uint8).tobytes())}


def _finite(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Replace NaN and infinity by 0: a network that diverged has its page too."""
    return np.where(np.isfinite(values), values, 0.0).astype(np.float64)


def _picture_address(picture: npt.NDArray[np.uint8]) -> str:
    """Return a `data:` address, as PNG or JPEG, whichever is smaller: PNG for drawings, JPEG for photographs."""
    files = {"png": io.BytesIO(), "jpeg": io.BytesIO()}
    for kind, file in files.items():
        Image.fromarray(picture).save(file, kind, quality=JPEG_QUALITY)  # PNG has no quality
    kind = min(files, key=lambda name: len(files[name].getvalue()))
    return f"data:image/{kind};base64,{_base64(files[kind].getvalue())}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
