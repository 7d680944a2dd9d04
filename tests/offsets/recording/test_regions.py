"""Bins of regions lie where their gradient is."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dcnrun.models.roi_pool import DeformRoIPool, ModulatedDeformRoIPool
from dcnrun.offsets import capture
from tests.offsets.recording.factories import disturb


class Pools(nn.Module):
    """Regions of two maps that are 4 and 8 pixels apart."""

    def __init__(self, kind, aligned, levels, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.boxes = 48 + torch.tensor([[16.0, 12.0, 38.0, 44.0], [4.0, 2.0, 60.0, 50.0], [20.0, 20.0, 33.0, 29.0]])
        self.pool = disturb(kind(levels, (2, 3), 2, aligned=aligned, **settings), 0.1)
        self.pool.scales = [{"p2": 1 / 4, "p3": 1 / 8}[name] for name in levels]
        self.pool.map_levels = lambda boxes: torch.tensor([0, 1, 0])

    def forward(self, image):
        p2 = F.avg_pool2d(image, 3, 4, 1)
        maps = {"p2": p2, "p3": F.avg_pool2d(p2, 3, 2, 1)}
        return self.pool({"other": image, **maps}, [self.boxes.to(image)], [(160, 160)])


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("levels", [["p2", "p3"], ["p3"]])
@pytest.mark.parametrize("kind", [DeformRoIPool, ModulatedDeformRoIPool])
def test_bins_lie_where_the_gradient_is(kind, levels, aligned):
    """Its centre of mass for each bin, far from the borders, with offsets held still."""
    network = Pools(kind, aligned, levels, channels=3, gamma=0.2, hidden=(8,)).double().eval()
    image = torch.rand(3, 160, 160, dtype=torch.float64)
    (rois,) = capture(network, image).rois
    assert rois.name == "pool"
    assert (rois.bins - rois.plain_bins).norm(dim=-1).max() > 1

    network.pool.offset_branch.register_forward_hook(lambda *call: call[-1].detach())
    batch = image[None].requires_grad_()
    pooled = network(batch)
    for region, row, column in ((0, 0, 0), (0, 1, 2), (1, 0, 1), (2, 1, 1)):
        (slopes,) = torch.autograd.grad(pooled[region, :, row, column].sum(), batch, retain_graph=True)
        weights, lines = slopes.sum((0, 1)), torch.arange(160, dtype=torch.float64)
        wanted = torch.stack([weights.sum(1) @ lines, weights.sum(0) @ lines]) / weights.sum()
        torch.testing.assert_close(rois.bins[region, row, column].double(), wanted, atol=1e-3, rtol=0)

    mean = rois.plain_bins.mean((1, 2))
    torch.testing.assert_close((rois.boxes[:, :2] + rois.boxes[:, 2:]).flip(1) / 2, mean)
    torch.testing.assert_close(
        rois.bin_size * torch.tensor([2.0, 3.0]), (rois.boxes[:, 2:] - rois.boxes[:, :2]).flip(1)
    )
    assert (rois.mask is None) == (kind is DeformRoIPool)


def test_masks_of_bins():
    network = Pools(ModulatedDeformRoIPool, True, ["p2"], channels=3, hidden=(8,)).eval()
    image = torch.rand(3, 160, 160)
    (rois,) = capture(network, image).rois
    p2 = F.avg_pool2d(image[None], 3, 4, 1)
    _, mask = network.pool.offsets({"p2": p2}, [network.boxes], [(160, 160)])
    torch.testing.assert_close(rois.mask, mask[:, 0])
