"""What an operator computes: definitions, checks and the entries that users call."""

from dcnrun.ops.deform_conv2d import deform_conv2d

__all__ = ["deform_conv2d"]
