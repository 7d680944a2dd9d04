"""Grids against the coordinates that PyTorch's own operations make of a ramp."""

import pytest
import torch
import torch.nn.functional as F

from dcnrun.offsets.grid import Grid

SIZE = (12, 20)
GRID = Grid((3.5, -1.0), (8.0, 4.0))  # of a feature map in an image


def ramp(grid=GRID, size=SIZE):
    """A feature map (1, 2, H, W) whose pixels hold their own position in the image, y and x."""
    y, x = (grid.start[axis] + grid.step[axis] * torch.arange(size[axis], dtype=torch.float64) for axis in (0, 1))
    return torch.stack(torch.meshgrid(y, x, indexing="ij"))[None]


def assert_positions(grid, positions, border):
    """The grid has the positions (1, 2, H, W), except near the border, where operations repeat pixels or pad."""
    wanted = ramp(grid, (positions.shape[2], positions.shape[3]))
    inner = (..., slice(border, -border or None), slice(border, -border or None))
    torch.testing.assert_close(positions[inner], wanted[inner])


def test_positions_go_to_the_image_and_back():
    pixels = torch.tensor([[0.0, 0.0], [2.5, -1.25]], dtype=torch.float64)
    in_image = GRID.to_image(pixels)
    assert in_image.tolist() == [[3.5, -1.0], [3.5 + 2.5 * 8, -1.0 - 1.25 * 4]]
    torch.testing.assert_close(GRID.to_map(in_image), pixels)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((3, 3), (2, 2), (1, 1)), ((2, 2), (2, 2), (0, 0)), ((5, 3), (1, 2), (2, 0))]
)
def test_windows_are_at_their_middles(kernel, stride, padding):
    assert_positions(GRID.windows(kernel, stride, padding), F.avg_pool2d(ramp(), kernel, stride, padding), border=2)


def test_dilated_windows():
    weight = torch.ones(2, 1, 3, 3, dtype=torch.float64) / 9
    positions = F.conv2d(ramp(), weight, stride=2, padding=(1, 3), dilation=(2, 3), groups=2)
    assert_positions(GRID.windows((3, 3), (2, 2), (1, 3), (2, 3)), positions, border=2)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(24, 40), (36, 25)])
def test_interpolation(size, align_corners):
    positions = F.interpolate(ramp(), size, mode="bilinear", align_corners=align_corners)
    assert_positions(GRID.resized(SIZE, size, align_corners), positions, border=0 if align_corners else 3)


def test_padding_and_cropping_and_every_other_pixel():
    assert_positions(GRID.moved(-1, -2), F.pad(ramp(), (2, 2, 1, 1)), border=2)
    assert_positions(GRID.moved(2, 3), ramp()[:, :, 2:, 3:], border=0)
    assert_positions(GRID.thinned((2, 3)), ramp()[:, :, ::2, ::3], border=0)


def test_an_unknown_feature_map_divides_the_image_evenly_and_is_not_exact():
    guess = Grid.spanning((3, 4), (12, 8))
    assert (guess.start, guess.step, guess.exact) == ((1.5, 0.5), (4.0, 2.0), False)
    assert not guess.windows((3, 3), (1, 1), (1, 1)).exact
    assert Grid().windows((3, 3), (1, 1), (1, 1)).exact
