"""The operators, deformable convolution, sampling and RoI pooling: a folder each, and what they share in `common/`.

`deform_conv2d`, `deform_roi_pool` and `deform_sample2d` are the functions here; the folders of the same names are reached by
imports from them.
"""

from types import ModuleType

from dcnrun.ops.common.dispatch import Backend
from dcnrun.ops.deform_conv2d import deform_conv2d
from dcnrun.ops.deform_conv2d import dispatch as _conv_dispatch
from dcnrun.ops.deform_roi_pool import deform_psroi_pool, deform_roi_pool
from dcnrun.ops.deform_roi_pool import dispatch as _roi_dispatch
from dcnrun.ops.deform_sample2d import deform_sample2d
from dcnrun.ops.deform_sample2d import dispatch as _sample_dispatch

# What computes each operator, by the name of its kernels' sources.
DISPATCH: dict[str, ModuleType] = {
    "deform_conv2d": _conv_dispatch,
    "deform_roi_pool": _roi_dispatch,
    "deform_sample2d": _sample_dispatch,
}

__all__ = ["DISPATCH", "Backend", "deform_conv2d", "deform_psroi_pool", "deform_roi_pool", "deform_sample2d"]
