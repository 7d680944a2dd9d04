"""What an operator computes: definitions, checks and the entries that users call."""

from dcnrun.ops.deform_conv2d import deform_conv2d
from dcnrun.ops.deform_roi_pool import deform_psroi_pool, deform_roi_pool

__all__ = ["deform_conv2d", "deform_psroi_pool", "deform_roi_pool"]
