"""Where a network looks: sampling points, their statistics and pictures."""

from dcnrun.offsets.capture import capture
from dcnrun.offsets.geometry import chain_to, compose, layer_points
from dcnrun.offsets.grid import Grid
from dcnrun.offsets.layers import Capture, Layer, RoIs
from dcnrun.offsets.receptive_field import receptive_field, receptive_fields

__all__ = [
    "Capture",
    "Grid",
    "Layer",
    "RoIs",
    "capture",
    "chain_to",
    "compose",
    "layer_points",
    "receptive_field",
    "receptive_fields",
]
