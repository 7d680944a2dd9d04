"""Learnt pooling in the place of torchvision's."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from dcnrun.models.roi_pool import (
    DeformRoIPool,
    ModulatedDeformRoIPool,
    RoIOffsetBranch,
    from_mmcv_roi_pool_state,
)
from dcnrun.ops import deform_roi_pool
from tests.models.fakes import DeformRoIPoolPack, randomize

NAMES = ["p2", "p3", "p4", "p5"]
SHAPES = [(128, 160), (120, 128)]


def pyramid(names=NAMES, channels=6):
    generator = torch.Generator().manual_seed(0)
    sizes = {name: (128 >> (i + 2), 160 >> (i + 2)) for i, name in enumerate(NAMES)}
    return {name: torch.randn(2, channels, *sizes[name], generator=generator) for name in [*names, "p5"]}


def boxes():
    """Of all sizes, so that every level has some, and not in the levels' order."""
    generator = torch.Generator().manual_seed(1)
    sides = torch.tensor([8.0, 150.0, 30.0, 100.0, 60.0, 4.0, 400.0, 20.0])
    start = torch.rand(8, 2, generator=generator) * 60
    every = torch.cat([start, start + sides[:, None] * (0.8 + 0.4 * torch.rand(8, 2, generator=generator))], 1)
    return [every[:5], every[5:]]


def make(kind, names=NAMES, size=3, **settings):
    torch.manual_seed(0)
    return kind(names, size, 2, canonical_scale=112, channels=6, hidden=(16, 8), **settings)


def disturb(pool, by=1.0):
    """Offsets as after some training."""
    torch.manual_seed(1)
    nn.init.normal_(pool.offset_branch[-1].weight, std=by)
    nn.init.normal_(pool.offset_branch[-1].bias, std=by)
    return pool


@pytest.mark.parametrize("kind", [DeformRoIPool, ModulatedDeformRoIPool])
class TestEveryKind:
    @pytest.mark.parametrize("names", [NAMES, ["p3"], ["p2", "p4"]])
    def test_a_fresh_one_is_roi_align(self, kind, names):
        plain = MultiScaleRoIAlign(names, 3, 2, canonical_scale=112)
        got = make(kind, names)(pyramid(names), boxes(), SHAPES)
        torch.testing.assert_close(got, plain(pyramid(names), boxes(), SHAPES), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("names", [NAMES, ["p3"]])
    def test_torch_fx_traces_it(self, kind, names):
        """New, when it doesn't know the maps' scales, and after it ran; for any boxes, none too."""
        pool, none = disturb(make(kind, names)), [torch.zeros(0, 4)] * 2
        new = torch.fx.symbolic_trace(pool)
        assert pool.scales is None
        wanted = pool(pyramid(names), boxes(), SHAPES)
        for traced in (new, torch.fx.symbolic_trace(pool)):
            torch.testing.assert_close(traced(pyramid(names), boxes(), SHAPES), wanted)
            assert traced(pyramid(names), none, SHAPES).shape == (0, *wanted.shape[1:])

    def test_a_trained_one_is_not(self, kind):
        pool = make(kind)
        fresh = pool(pyramid(), boxes(), SHAPES)
        assert not torch.allclose(disturb(pool)(pyramid(), boxes(), SHAPES), fresh, atol=0.1)

    def test_each_region_has_its_own_offsets_on_its_own_level(self, kind):
        """Region by region it is the same."""
        pool = disturb(make(kind))
        together = pool(pyramid(), boxes(), SHAPES)
        offset, _ = pool.offsets(pyramid(), boxes(), SHAPES)
        i = 0
        for image, its in enumerate(boxes()):
            for box in its:
                alone = [box.new_zeros(0, 4), box.new_zeros(0, 4)]
                alone[image] = box[None]
                torch.testing.assert_close(pool(pyramid(), alone, SHAPES)[0], together[i])
                torch.testing.assert_close(pool.offsets(pyramid(), alone, SHAPES)[0][0], offset[i])
                i += 1
        assert i == len(together)

    def test_all_parameters_and_maps_get_gradients(self, kind):
        pool, maps = disturb(make(kind), 0.1), {name: map.requires_grad_() for name, map in pyramid().items()}
        pool(maps, boxes(), SHAPES).square().sum().backward()
        for name, tensor in [*pool.named_parameters(), *maps.items()]:
            assert tensor.grad.abs().sum() > 0, name

    def test_a_fresh_one_learns_its_last_layer(self, kind):
        pool = make(kind)
        pool(pyramid(), boxes(), SHAPES).square().sum().backward()
        assert pool.offset_branch[-1].weight.grad.abs().sum() > 0

    @pytest.mark.parametrize("names", [NAMES, ["p3"]])
    def test_no_regions(self, kind, names):
        pool = make(kind, names)
        nothing = [torch.zeros(0, 4)] * 2
        pooled = pool(pyramid(names), nothing, SHAPES)
        assert pooled.shape == (0, 6, 3, 3)
        pooled.sum().backward()
        assert not any(parameter.grad.any() for parameter in pool.parameters())

    def test_copies_saves_and_pickles(self, kind):
        pool = disturb(make(kind))
        wanted = pool(pyramid(), boxes(), SHAPES)
        other = make(kind)
        other.load_state_dict(pool.state_dict(), strict=True)
        for one in (other, copy.deepcopy(pool), pickle.loads(pickle.dumps(pool))):
            assert torch.equal(one(pyramid(), boxes(), SHAPES), wanted)
            assert str(one) == str(pool)

    def test_autocast(self, kind):
        pool = disturb(make(kind), 0.1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = pool(pyramid(), boxes(), SHAPES)
            offset, _ = pool.offsets(pyramid(), boxes(), SHAPES)
        assert got.dtype == torch.bfloat16
        assert offset.dtype == torch.float32
        torch.testing.assert_close(got.float(), pool(pyramid(), boxes(), SHAPES), rtol=0.05, atol=0.05)

    def test_in_torchvisions_faster_rcnn(self, kind):
        class Backbone(nn.Module):
            out_channels = 6

            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 6, 3, 8, 1)

            def forward(self, x):
                map = self.conv(x)
                return {"p3": map, "p4": nn.functional.max_pool2d(map, 2)}

        torch.manual_seed(0)
        network = FasterRCNN(
            Backbone(),
            min_size=64,
            max_size=64,
            rpn_anchor_generator=AnchorGenerator(((16,), (32,)), ((1.0,),) * 2),
            box_roi_pool=kind(["p3", "p4"], 3, 2, channels=6, hidden=(8,)),
            box_head=nn.Sequential(nn.Flatten(), nn.Linear(54, 16), nn.ReLU()),
            box_predictor=FastRCNNPredictor(16, 3),
        )
        targets = [{"boxes": torch.tensor([[5.0, 5.0, 40.0, 50.0]]), "labels": torch.tensor([1])}]
        losses = network([torch.randn(3, 64, 64)], targets)
        sum(losses.values()).backward()
        assert network.roi_heads.box_roi_pool.offset_branch[-1].weight.grad.any()
        (found,) = network.eval()([torch.randn(3, 60, 50)])
        assert found["boxes"].shape[1] == 4


@pytest.mark.parametrize("hidden", [(), (16,), (1024, 1024)])
def test_offset_branch(hidden):
    branch = RoIOffsetBranch(12, hidden, 5)
    widths = [layer.out_features for layer in branch if isinstance(layer, nn.Linear)]
    assert widths == [*hidden, 5]
    assert not branch[-1].weight.any()
    assert not branch[-1].bias.any()
    assert torch.equal(branch(torch.randn(3, 3, 2, 2)), torch.zeros(3, 5))
    assert branch(torch.zeros(0, 3, 2, 2)).shape == (0, 5)


def test_hidden_layers_are_as_wide_as_in_the_papers():
    pool = DeformRoIPool(["0"], 7, 2, channels=256)
    shapes = [tuple(layer.weight.shape) for layer in pool.offset_branch if isinstance(layer, nn.Linear)]
    assert shapes == [(1024, 256 * 49), (1024, 1024), (98, 1024)]


def test_what_the_branch_says_is_where_bins_go():
    pool = make(ModulatedDeformRoIPool, ["p3"], gamma=0.3, aligned=True)
    with torch.no_grad():
        pool.offset_branch[-1].bias.copy_(torch.arange(27.0) / 9 - 1)
    maps = pyramid(["p3"])
    offset, mask = pool.offsets(maps, boxes(), SHAPES)
    assert torch.equal(offset[4].flatten(), pool.offset_branch[-1].bias[:18])
    torch.testing.assert_close(mask[4].flatten(), 2 * pool.offset_branch[-1].bias[18:].sigmoid())
    wanted = deform_roi_pool(maps["p3"], boxes(), offset, 3, 1 / 8, 2, 0.3, mask, True)
    torch.testing.assert_close(pool(maps, boxes(), SHAPES), wanted)


def test_mask_start():
    args = pyramid(), boxes(), SHAPES
    full, half = make(ModulatedDeformRoIPool), make(ModulatedDeformRoIPool, mask_start=0.5)
    assert torch.equal(full.offsets(*args)[1], torch.ones(8, 1, 3, 3))
    torch.testing.assert_close(2 * half(*args), full(*args))
    assert make(DeformRoIPool).offsets(*args)[1] is None
    with pytest.raises(ValueError, match=r"mask_start must be 0\.5 or 1, but is 0\.7"):
        make(ModulatedDeformRoIPool, mask_start=0.7)


def test_scales_that_are_set_are_kept():
    pool = make(DeformRoIPool, ["p3"])
    pool.scales, pool.map_levels = [0.25], object()
    plain = deform_roi_pool(pyramid(["p3"])["p3"], boxes(), None, 3, 0.25, 2, aligned=False)
    torch.testing.assert_close(pool(pyramid(["p3"]), boxes(), SHAPES), plain)


def test_the_layer_of_mmcv_is_taken_over():
    """By name alone y and x would be swapped: something else comes out."""
    original = randomize(DeformRoIPoolPack(3, 6, 8, 1 / 8))
    pool = DeformRoIPool(["p3"], 3, -1, channels=6, hidden=(8, 8), aligned=True)
    feature_map, (its_boxes, _) = pyramid(["p3"])["p3"][:1], boxes()
    wanted = original(feature_map[0], its_boxes)
    pool.load_state_dict(from_mmcv_roi_pool_state(original.state_dict(), pool))
    torch.testing.assert_close(pool({"p3": feature_map}, [its_boxes], SHAPES[:1]), wanted, rtol=1e-4, atol=1e-5)
    renamed = {key.replace("offset_fc", "offset_branch"): value for key, value in original.state_dict().items()}
    pool.load_state_dict(renamed)
    assert (pool({"p3": feature_map}, [its_boxes], SHAPES[:1]) - wanted).abs().max() > 0.01


def test_what_is_not_the_layer_of_mmcv_is_refused():
    state = DeformRoIPoolPack(3, 6, 8, 1 / 8).state_dict()
    with pytest.raises(ValueError, match=r"offset_fc\.0\.weight has shape \(8, 54\), but this layer needs \(9, 54\)"):
        from_mmcv_roi_pool_state(state, DeformRoIPool(["p3"], 3, -1, channels=6, hidden=(9, 8)))
    for kind, more in ((ModulatedDeformRoIPool, {}), (DeformRoIPool, {"mask_fc.0.bias": torch.zeros(1)})):
        with pytest.raises(ValueError, match="expected a DeformRoIPool and offset_fc"):
            from_mmcv_roi_pool_state(state | more, kind(["p3"], 3, -1, channels=6, hidden=(8, 8)))
