"""Captures that the page's numbers hold exactly, so that only its geometry and its drawing can differ."""

from pathlib import Path

import numpy as np
import torch

from dcnrun.offsets.grid import Grid
from dcnrun.offsets.layers import Capture, Layer, RoIs
from dcnrun.visualize.viewer.page import PageImage, PageObject, PageRun, write_page

OFFSET_STEP, MASK_STEP = 2.0**-13, 2.0**-8  # offsets of at most 4 pixels
GREY = 128
STRIDE_8 = Grid((3.5, 3.5), (8.0, 8.0))


def random_layer(
    seed,
    name="layer",
    below=None,
    *,
    groups=1,
    size=(16, 16),
    grid=STRIDE_8,
    kernel=(3, 3),
    stride=(1, 1),
    padding=(2, 2),
    dilation=(2, 2),
    masked=True,
    deformable=True,
):
    """A layer on the output of `below`, or on a map of `size` that lies in the image by `grid`."""
    random = np.random.default_rng(seed)
    if below is not None:
        size, grid = below.output_size, below.output_grid
    output = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(size, padding, dilation, kernel, stride, strict=True)
    )
    num_points = kernel[0] * kernel[1]
    steps = random.integers(-32767, 32768, (groups, num_points, 2, *output))
    steps.flat[0] = 32767  # the largest sets the page's step
    shares = random.integers(0, 256, (groups, num_points, *output))
    shares.flat[0] = 255
    return Layer(
        name=name,
        kernel_size=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=1,
        offset_groups=groups,
        input_size=size,
        output_size=output,
        offset=torch.tensor(steps * OFFSET_STEP * deformable, dtype=torch.float32),
        mask=torch.tensor(shares * MASK_STEP, dtype=torch.float32) if masked else None,
        point_weight=torch.tensor(random.uniform(0.5, 1.5, (groups, num_points)), dtype=torch.float32),
        deformable=deformable,
        input_grid=grid,
        output_grid=grid.windows(kernel, stride, padding, dilation),
        source=below.name if below else None,
    )


def three_layers(seed, groups=1, side=128, output_stride=8, **settings):
    """A capture of an image of side x side pixels: conv1, conv2 and conv3 on maps of that output stride."""
    start = (output_stride - 1) / 2
    grid = Grid((start, start), (float(output_stride), float(output_stride)))
    size = (side // output_stride, side // output_stride)
    layers = [random_layer(seed, "block.conv1", size=size, grid=grid, groups=groups, **settings)]
    for n in (2, 3):
        layers.append(random_layer(seed + n, f"block.conv{n}", layers[-1], groups=groups, **settings))
    return Capture((side, side), tuple(layers), ())


def grey_image(capture, name="grey.png", objects=(), pools=()):
    return PageImage(name, np.full((*capture.image_size, 3), GREY, np.uint8), capture, objects, pools)


def random_rois(seed, name="roi_pool", *, count=6, bins=(2, 3), side=128, masked=True, moves=True):
    """Regions of which every other one is small, with a bin moved by exactly what sets the page's step."""
    random = np.random.default_rng(seed)
    corners = np.sort(random.uniform(0, side, (count, 2, 2)), 1)
    corners[::2, 1] = corners[::2, 0] + 0.2 * (corners[::2, 1] - corners[::2, 0])
    size = (corners[:, 1] - corners[:, 0])[:, ::-1]
    rows, columns = ((np.arange(n) + 0.5) / n for n in bins)
    shares = np.stack(np.broadcast_arrays(rows[:, None], columns), -1)
    plain = corners[:, 0][:, None, None, ::-1] + shares * size[:, None, None]
    steps = random.integers(-32767, 32768, plain.shape)
    steps.flat[0] = 32767
    weights = random.integers(0, 256, plain.shape[:-1])
    weights.flat[0] = 255
    return RoIs(
        name=name,
        boxes=torch.tensor(corners.reshape(count, 4)),
        bins=torch.tensor(plain + steps * OFFSET_STEP * moves),
        plain_bins=torch.tensor(plain),
        bin_size=torch.tensor(size / bins),
        mask=torch.tensor(weights * MASK_STEP, dtype=torch.float32) if masked else None,
    )


def two_runs(groups=(2, 1), side=128):
    """A run with and one without masks, both on one image with two objects."""
    objects = [PageObject("cat", (8.0, 16.0, 40.0, 48.0)), PageObject("dog", (64.0, 64.0, 120.0, 96.0))]
    return [
        PageRun("first run", [grey_image(three_layers(1, groups[0], side), objects=objects)]),
        PageRun("second run", [grey_image(three_layers(11, groups[1], side, masked=False), objects=objects)]),
    ]


def written(folder: Path, runs) -> Path:
    path = folder / "page.html"
    write_page(path, runs)
    return path
