"""Deformable RoI pooling, plain and position-sensitive: `dcnrun.ops.deform_roi_pool` and `deform_psroi_pool`.

The files have the names and tasks of their counterparts for deformable convolution, one folder up.
"""
