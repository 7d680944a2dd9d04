"""Operands that don't fit are refused by name, with both values, before any memory is touched."""

import re

import pytest
import torch

from dcnrun.ops import deform_psroi_pool, deform_roi_pool
from dcnrun.ops.deform_roi_pool.checks import MOST_SAMPLES, check_images

GOOD = {
    "input": torch.zeros(2, 8, 6, 6),
    "rois": torch.tensor([[0, 1, 1, 4, 4], [1, 0, 2, 5, 3], [1, 0, 0, 6, 6.0]]),
    "offset": torch.zeros(3, 4, 2, 2),
    "output_size": (2, 2),
    "mask": torch.zeros(3, 2, 2, 2),
}
WRONG = [
    ({"input": torch.zeros(8, 6, 6)}, ValueError, r"input must have 4 dimensions.*\(8, 6, 6\)"),
    ({"input": torch.zeros(2, 8, 6, 6).long()}, TypeError, r"input must have a floating-point dtype.*torch.int64"),
    ({"input": torch.zeros(2, 0, 6, 6)}, ValueError, r"input of shape \(2, 0, 6, 6\).*no empty channel or feature map"),
    ({"input": torch.zeros(2, 8, 0, 6)}, ValueError, r"input of shape \(2, 8, 0, 6\).*no empty channel or feature map"),
    ({"input": torch.zeros(2, 7, 6, 6)}, ValueError, r"offset has 2 groups.*output's 7 channels"),
    ({"input": torch.zeros(2, 7, 6, 6), "offset": None}, ValueError, r"mask has 2 groups.*output's 7 channels"),
    ({"rois": torch.zeros(3, 4)}, ValueError, r"rois must be \(R, 5\): image, x1, y1, x2, y2.*\(3, 4\)"),
    ({"rois": torch.zeros(3, 5, 1)}, ValueError, r"rois must have 2 dimensions.*\(3, 5, 1\)"),
    ({"rois": torch.zeros(3, 5).long()}, TypeError, r"rois must have a floating-point dtype.*torch.int64"),
    ({"rois": torch.zeros(3, 5).double()}, TypeError, r"rois has torch.float64.*input has torch.float32"),
    ({"rois": torch.zeros(3, 5, device="meta")}, ValueError, r"rois is on meta, but input is on cpu"),
    ({"rois": [torch.zeros(3, 4)]}, ValueError, r"rois is a list of 1, but input has 2 images"),
    ({"rois": [torch.zeros(3, 4), torch.zeros(1, 5)]}, ValueError, r"rois\[1\] must be boxes \(R, 4\).*\(1, 5\)"),
    ({"rois": [torch.zeros(3, 4), None]}, ValueError, r"rois\[1\] must be boxes \(R, 4\).*NoneType"),
    ({"offset": torch.zeros(3, 3, 2, 2)}, ValueError, r"offset has 3 channels, but needs y and x"),
    ({"offset": torch.zeros(3, 0, 2, 2)}, ValueError, r"offset has 0 channels, but needs y and x"),
    ({"offset": torch.zeros(3, 6, 2, 2)}, ValueError, r"offset has 3 groups.*output's 8 channels"),
    ({"offset": torch.zeros(3, 2, 2, 2)}, ValueError, r"mask has 2 channels, but offset has 1 groups"),
    ({"offset": torch.zeros(2, 4, 2, 2)}, ValueError, r"offset is of 2 RoIs, but rois has 3"),
    ({"offset": torch.zeros(3, 4, 2, 3)}, ValueError, r"offset is 2x3, but the output is 2x2"),
    ({"offset": torch.zeros(3, 4, 2, 2).bfloat16()}, TypeError, r"offset has torch.bfloat16.*input has torch.float32"),
    ({"mask": torch.zeros(3, 2, 2, 2, device="meta")}, ValueError, r"mask is on meta, but input is on cpu"),
    ({"mask": torch.zeros(3, 0, 2, 2), "offset": None}, ValueError, r"mask has 0 groups"),
    ({"mask": torch.zeros(4, 2, 2, 2)}, ValueError, r"mask is of 4 RoIs, but rois has 3"),
    ({"mask": torch.zeros(3, 2, 1, 2)}, ValueError, r"mask is 1x2, but the output is 2x2"),
    ({"output_size": 0}, ValueError, r"output_size must be .* >= 1, but is 0"),
    ({"output_size": (2, 2.0)}, ValueError, r"output_size must be one or two integers.*2\.0"),
    ({"spatial_scale": float("nan")}, ValueError, r"spatial_scale must be a finite number, but is nan"),
    ({"gamma": float("inf")}, ValueError, r"gamma must be a finite number, but is inf"),
    ({"sampling_ratio": -2}, ValueError, r"sampling_ratio must be from 1 to 4096, or 0 or -1 .* but is -2"),
    ({"sampling_ratio": 2**40}, ValueError, rf"sampling_ratio must be .* to {MOST_SAMPLES}, .* but is 1099511627776"),
]


@pytest.mark.parametrize(
    ("change", "error", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_wrong_operands_are_named_with_both_values(change, error, message, device):
    """Also where shapes alone are known, as under torch.compile."""
    if device == "meta" and " is on " in message:
        pytest.skip("all are on one device")
    operands = GOOD | change
    if device == "meta":
        operands = {name: value.to(device) if torch.is_tensor(value) else value for name, value in operands.items()}
    with pytest.raises(error, match=re.compile(message, re.DOTALL)):
        deform_roi_pool(**operands)


def test_good_operands_pass():
    assert deform_roi_pool(**GOOD).shape == (3, 8, 2, 2)
    assert deform_psroi_pool(**GOOD).shape == (3, 2, 2, 2)
    meta = {name: value.to("meta") if torch.is_tensor(value) else value for name, value in GOOD.items()}
    assert deform_roi_pool(**meta).shape == (3, 8, 2, 2)


def test_the_authors_pooling_has_a_number_of_samples():
    with pytest.raises(ValueError, match="sampling_ratio must be given with authors=True"):
        deform_psroi_pool(**GOOD, authors=True)


def test_position_sensitive_pooling_needs_a_channel_for_each_bin():
    message = "input has 8 channels, but position-sensitive pooling to 3x3 needs a multiple of 9"
    with pytest.raises(ValueError, match=message):
        deform_psroi_pool(GOOD["input"], GOOD["rois"], None, 3)


@pytest.mark.parametrize("image", [2, -1, 0.5, float("nan"), float("inf"), -0.5])
def test_a_roi_of_an_image_that_is_not_there(image):
    rois = GOOD["rois"].clone()
    rois[1, 0] = image
    message = rf"rois\[1\] is of image {image:g}, but input has 2 images, counted from 0"
    with pytest.raises(ValueError, match=re.escape(message.replace("\\", ""))):
        deform_roi_pool(**GOOD | {"rois": rois})
    grad_output, wanted = torch.zeros(3, 8, 2, 2), [True] * 3
    settings = [2, 2], 1.0, 0, 0.1, True, False, False
    with pytest.raises(ValueError, match=re.escape(message.replace("\\", ""))):
        torch.ops.dcnrun.deform_roi_pool_backward(
            grad_output, GOOD["input"], rois, GOOD["offset"], GOOD["mask"], *settings, wanted
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("images", [0, 1, 2, 301, 4095])
def test_numbers_of_images_that_half_precision_rounds(dtype, images):
    """The number in a RoI counts as it is stored, whatever lies next to it there."""
    for number in (-1, 0, 0.5, images - 1, images, images + 1, torch.nan, torch.inf):
        rois = torch.tensor([[number, 0, 0, 1, 1]], dtype=dtype)
        stored = rois[0, 0].item()
        if stored in range(images):
            check_images(rois, images)
        else:
            with pytest.raises(ValueError, match=f"but input has {images} images"):
                check_images(rois, images)


def test_no_images_and_no_boxes():
    with pytest.raises(ValueError, match="rois is an empty list"):
        deform_roi_pool(torch.zeros(0, 8, 6, 6), [], None, 2)
    assert deform_roi_pool(torch.zeros(0, 8, 6, 6), torch.zeros(0, 5), None, 2).shape == (0, 8, 2, 2)


def expanded(*shape):
    """Of any size, in one number of memory."""
    return torch.zeros(1).expand(shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": expanded(2, 8, 2**18, 2**18)}, r"input is 262144x262144.*fewer than 2\*\*31 pixels"),
        ({"output_size": 2**40}, r"offset is 2x2, but the output is 1099511627776x1099511627776"),
        ({"rois": expanded(2**40, 5)}, r"offset is of 3 RoIs, but rois has 1099511627776"),
        ({"offset": expanded(3, 2**40, 2, 2)}, r"offset has 549755813888 groups, which do not divide"),
    ],
)
def test_nothing_is_reserved_for_operands_that_do_not_fit(change, message):
    """Terabytes, were they not refused first."""
    with pytest.raises(ValueError, match=message):
        deform_roi_pool(**(GOOD | change))


@pytest.mark.parametrize(
    ("grad_output", "error", "message"),
    [
        (torch.zeros(3, 8, 2, 3), ValueError, r"grad_output has shape \(3, 8, 2, 3\).*the output's is \(3, 8, 2, 2\)"),
        (torch.zeros(3, 8, 2, 2).double(), TypeError, r"grad_output has torch.float64, but input has torch.float32"),
        (torch.zeros(3, 8, 2, 2, device="meta"), ValueError, r"grad_output is on meta, but input is on cpu"),
    ],
)
def test_a_gradient_that_is_not_the_outputs(grad_output, error, message):
    operands = [GOOD[name] for name in ("input", "rois", "offset", "mask")]
    with pytest.raises(error, match=message):
        torch.ops.dcnrun.deform_roi_pool_backward(
            grad_output, *operands, [2, 2], 1.0, 0, 0.1, True, False, False, [True] * 3
        )
