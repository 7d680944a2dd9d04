"""A picture, the feature map on it, and figures as pixels."""

import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from dcnrun.offsets.grid import Grid
from dcnrun.visualize.pictures.panels import show_image

GRID = Grid((3.5, 3.5), (8.0, 8.0))
PICTURE = np.full((48, 56, 3), 128, np.uint8)  # of a 6 x 7 map on GRID


def image_axes(margin=6.0):
    axes = Figure().add_axes((0, 0, 1, 1))
    show_image(axes, PICTURE, margin)
    return axes


def rendered(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB")).astype(int)
