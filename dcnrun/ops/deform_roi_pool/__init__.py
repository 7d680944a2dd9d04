"""`deform_roi_pool` and `deform_psroi_pool`: the entries to deformable RoI pooling, whatever computes it."""

from torch import Tensor

from dcnrun.ops.common.checks import pair
from dcnrun.ops.common.operator import traceable
from dcnrun.ops.deform_roi_pool.checks import as_rois
from dcnrun.ops.deform_roi_pool.operator import pool


@traceable
def deform_roi_pool(
    input: Tensor,
    rois: Tensor | list[Tensor],
    offset: Tensor | None,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    gamma: float = 0.1,
    mask: Tensor | None = None,
    aligned: bool = True,
) -> Tensor:
    """Compute deformable RoI pooling, modulated with `mask`; without offsets and mask it is `torchvision.ops.roi_align`.

    Each RoI is divided into ph x pw bins; each bin is moved by its offset, and is the mean of bilinear samples inside.

    Args:
        input: (N, C, H, W), contiguous or channels-last; channels-last is the faster.
        rois: (R, 5), the number of the image, x1, y1, x2, y2; or for each image a tensor (Ri, 4) of x1, y1, x2, y2.
        offset: (R, 2*G, ph, pw) for G groups of channels, or None. Channel 2g moves the bins of group g along y, 2g + 1
            along x (other libraries have x first), in units of the RoI's height and width: by
            gamma * offset * height and gamma * offset * width.
        output_size: bins along y and x, (ph, pw) or one number for both.
        spatial_scale: pixels of the feature map for one pixel of the RoIs' coordinates.
        sampling_ratio: samples per bin along each axis, up to 4096; 0 or -1: as many as a bin has pixels, rounded up.
        gamma: scale of the offsets.
        mask: (R, G, ph, pw) factors of the bins, or None.
        aligned: whether coordinates are shifted by half a pixel, so that pixel centres lie at .5; otherwise RoIs are at
            least 1 x 1 on the feature map.

    Returns:
        (R, C, ph, pw), contiguous. A sample more than one pixel outside the feature map is zero, a nearer one has the border's
        value; with `aligned`, adaptive sampling finds nothing in a RoI without height or width, which is zero. Bins at
        NaN positions are NaN. Gradients reach input, offset and mask, not the RoIs.

    Raises:
        ValueError, TypeError: the operands don't fit together, or on the CPU a RoI is of an image that does not exist; the
            message names the argument and both values. Elsewhere such a RoI is zero, since a check would wait for the device.
        UsageError: the environment variable DCNRUN_BACKEND names no backend.

    RoIs of any size take time and memory as one that covers the feature map. Half-precision inputs may come with fp32 RoIs, offsets
    and masks, and are summed in fp32; under autocast, these are fp32. Source: Dai et al. 2017, section 2.2; mask: Zhu et
    al. 2018.
    """
    size, rois = pair(output_size, "output_size", 1), as_rois(rois, input.shape[0])
    ratio = 0 if sampling_ratio == -1 else sampling_ratio
    return pool(input, rois, offset, mask, size, spatial_scale, ratio, gamma, aligned, False, False)


@traceable
def deform_psroi_pool(
    input: Tensor,
    rois: Tensor | list[Tensor],
    offset: Tensor | None,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    gamma: float = 0.1,
    mask: Tensor | None = None,
    authors: bool = False,
) -> Tensor:
    """Compute deformable position-sensitive RoI pooling, for R-FCN's heads; without offsets it is `torchvision.ops.ps_roi_align`.

    As `deform_roi_pool` with aligned=True, but input has Co*ph*pw channels: bin (i, j) of output channel c reads channel
    (c*ph + i)*pw + j. Groups of offsets are groups of output channels: 1, or Co where each class has offsets of its own.

    That is not what the authors' code computes (`DeformablePSROIPooling` of Dai et al. 2017, in DCNv2 too): there corners are
    rounded to whole pixels, the last of which belongs to the RoI, and RoIs are at least 0.1 wide and high on the feature map; a
    bin's sampling points start at its corner, and not half a step further; only those are averaged that lie at most half a pixel
    outside. `authors=True` computes this, for weights that were trained with it. It takes a number of samples (the authors'
    `sample_per_part`, 4), has as many parts as bins (`part_size` and `group_size` are `pooled_size`), and `gamma` is their
    `trans_std`. Offsets have y first here as everywhere, in the authors' code x. On GPUs it runs RoI by RoI in plain PyTorch.

    Returns:
        (R, Co, ph, pw). RoIs without height or width are zero under adaptive sampling, where torchvision divides by zero.
    """
    size, rois = pair(output_size, "output_size", 1), as_rois(rois, input.shape[0])
    ratio = 0 if sampling_ratio == -1 else sampling_ratio
    return pool(input, rois, offset, mask, size, spatial_scale, ratio, gamma, True, True, authors)
