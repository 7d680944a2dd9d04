"""Sampling points, beside the gradient of the layers' output with respect to their input."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dcnrun.errors import UsageError
from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d
from dcnrun.models.sampling import outside
from dcnrun.offsets import capture, chain_to, compose, layer_points
from dcnrun.offsets.geometry import points_everywhere


class Fixed(nn.Module):
    """In the place of an offset branch: offsets (and mask logits) that do not depend on the image."""

    def __init__(self, values):
        super().__init__()
        self.values = nn.Parameter(values, requires_grad=False)

    def forward(self, _):
        return self.values


def layer_with(values, *args, kind=DeformConv2d, size=None, **settings):
    """A layer with given offsets, float64: `values` makes them of their shape, for a map of `size`."""
    layer = kind(*args, bias=False, **settings).double()
    size = layer(torch.zeros(1, args[0], *(size or SIZE), dtype=torch.float64)).shape[2:]
    layer.offset_branch = Fixed(values((1, layer.offset_branch.out_channels, *size)).double())
    return layer


SIZE = (24, 27)


def varying(shape):
    return torch.randn(shape) * 0.7


def whole(shape):
    return torch.randint(-2, 3, shape).float()


def constant(shape):
    return torch.randn(1, shape[1], 1, 1).expand(shape) * 0.7


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def image_for(network):
    return torch.rand(network[0].in_channels, *SIZE, dtype=torch.float64)


def whole_chain(network, image=None):
    captured = capture(network, image_for(network) if image is None else image)
    return chain_to(captured, captured.layers[-1].name, len(captured.layers))


def slopes(network, y, x):
    """The gradient of output (y, x), summed over its channels, with respect to the image: (C, H, W)."""
    batch = image_for(network)[None].requires_grad_()
    network(batch)[0, :, y, x].sum().backward()
    return batch.grad[0]


def one_path(network, groups, points):
    """All weights zero but 1 for one point and group at each layer, the last layer's first in both lists."""
    for layer, group, point in zip(reversed(network), groups, points, strict=True):
        channels = layer.in_channels // layer.offset_groups
        nn.init.zeros_(layer.weight)
        with torch.no_grad():
            layer.weight.flatten(2)[:, group * channels : (group + 1) * channels, point] = 1


def splat(y, x, strength, size):
    """A map of bilinear weights around points."""
    rows, columns = torch.arange(size[0])[:, None, None], torch.arange(size[1])[None, :, None]
    near = (1 - (y - rows).abs()).clamp(min=0) * (1 - (x - columns).abs()).clamp(min=0)
    return (near * strength).sum(-1).double()


SETTINGS = {
    "plain": {"padding": 1},
    "stride 2": {"stride": 2, "padding": 1},
    "dilation 2": {"padding": 2, "dilation": 2},
    "even and not square": {"kernel_size": (2, 5), "stride": (1, 2), "padding": (1, 3), "dilation": (3, 1)},
    "no padding": {},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("offset_groups", [1, 2])
@pytest.mark.parametrize("kind", [DeformConv2d, ModulatedDeformConv2d])
class TestOneLayer:
    def layer(self, kind, offset_groups, settings):
        settings = {"kernel_size": 3, "offset_groups": offset_groups} | settings
        return layer_with(varying, 4, 3, kind=kind, **settings)

    def test_each_point_reads_its_bilinear_neighbours(self, kind, offset_groups, settings):
        """Everywhere, so also at borders, where the points in the map keep their numbers."""
        network = nn.Sequential(self.layer(kind, offset_groups, settings))
        (layer,) = whole_chain(network)
        height, width = layer.output_size
        for y, x in ((0, 0), (0, width - 1), (height // 2, width // 2), (height - 1, 1)):
            every_y, every_x = layer_points(layer, y, x)
            assert every_y.shape == (offset_groups, layer.num_points)
            for group, point in product(range(offset_groups), range(layer.num_points)):
                one_path(network, [group], [point])
                factor = 3 if layer.mask is None else 3 * layer.mask[group, point, y, x]  # of three output channels
                wanted = splat(every_y[group, point, None], every_x[group, point, None], factor, SIZE)
                got = slopes(network, y, x)
                channels = 4 // offset_groups
                for map in got[group * channels : (group + 1) * channels]:
                    torch.testing.assert_close(map, wanted, rtol=1e-4, atol=1e-5)
                assert got.count_nonzero() == channels * got[group * channels].count_nonzero()
                assert bool(outside(every_y[group, point], every_x[group, point], SIZE)) != bool(wanted.any())

    def test_a_chain_of_one_is_the_layer(self, kind, offset_groups, settings):
        network = nn.Sequential(self.layer(kind, offset_groups, settings))
        chain = whole_chain(network)
        points = compose(chain, 3, 2)
        y, x = layer_points(chain[0], 3, 2)
        torch.testing.assert_close(points.y, y.flatten().double())
        torch.testing.assert_close(points.x, x.flatten().double())
        assert points.path.flatten().tolist() == list(range(chain[0].num_points)) * offset_groups
        assert points.group[:, 0].bincount().tolist() == [chain[0].num_points] * offset_groups
        weight = network[0].weight.detach().unflatten(1, (offset_groups, -1)).flatten(3)
        strength = weight.square().sum((0, 2)).sqrt()
        if chain[0].mask is not None:
            strength = strength * chain[0].mask[:, :, 3, 2]
        torch.testing.assert_close(points.strength, (strength / strength.sum()).flatten(), rtol=1e-5, atol=1e-7)


def test_points_everywhere_are_those_of_each_place():
    network = nn.Sequential(layer_with(varying, 4, 3, kernel_size=(2, 3), stride=(2, 1), offset_groups=2))
    (layer,) = whole_chain(network)
    every_y, every_x = points_everywhere(layer)
    assert every_y.shape == (2, 6, *layer.output_size)
    assert torch.equal(layer_points(layer, 4, 7)[0], every_y[:, :, 4, 7])
    assert torch.equal(layer_points(layer, 4, 7)[1], every_x[:, :, 4, 7])


# Of a chain, from its first layer on: strides, dilations, even kernels and groups that differ.
CHAIN = [
    {"kernel_size": 3, "padding": 1, "offset_groups": 2},
    {"kernel_size": (2, 3), "padding": (1, 2), "dilation": (2, 2)},
    {"kernel_size": 3, "padding": 1, "stride": (1, 2), "offset_groups": 2},
]


def network_with(*fields, kind=DeformConv2d):
    layers, size = [], SIZE
    for field, settings in zip(fields, CHAIN, strict=False):
        layers.append(layer_with(field, 4, 4, kind=kind, size=size, **settings))
        size = layers[-1].offset_branch.values.shape[2:]
    return nn.Sequential(*layers)


class TestChains:
    """Where a path's own gradient is, and how much of it."""

    def paths(self, network, y, x):
        """Some paths' points, and the gradient of each alone."""
        for layer in network:
            nn.init.ones_(layer.weight)
        points = compose(whole_chain(network), y, x, limit=None)
        assert (
            len(points)
            == torch.tensor([layer.num_points * layer.offset_groups for layer in whole_chain(network)]).prod()
        )
        chosen = torch.randperm(len(points))[:8]
        gradients = []
        for nth in chosen:
            one_path(network, points.group[nth].tolist(), points.path[nth].tolist())
            gradient = slopes(network, y, x).sum(0)
            assert not gradient[[0, -1]].any()  # nothing is cut off
            assert not gradient[:, [0, -1]].any()
            gradients.append(gradient)
        return points, chosen, torch.stack(gradients)

    @pytest.mark.parametrize("fields", [(varying, varying), (constant, varying, varying), (constant,) * 3])
    def test_a_point_is_the_centre_of_mass(self, fields):
        points, chosen, gradients = self.paths(network_with(*fields), 11, 6)
        rows, columns = (torch.arange(n, dtype=torch.float64) for n in SIZE)
        total = gradients.sum((1, 2))
        torch.testing.assert_close(points.y[chosen], gradients.sum(2) @ rows / total, rtol=0, atol=1e-4)
        torch.testing.assert_close(points.x[chosen], gradients.sum(1) @ columns / total, rtol=0, atol=1e-4)

    def test_masks_between_pixels(self):
        points, chosen, gradients = self.paths(network_with(varying, varying, kind=ModulatedDeformConv2d), 11, 12)
        total = gradients.sum((1, 2))
        strength = points.strength[chosen]
        assert strength.max() > 2 * strength.min()
        torch.testing.assert_close(strength / strength.sum(), total / total.sum(), rtol=1e-4, atol=0)

    @pytest.mark.parametrize("layers", [1, 2, 3])
    @pytest.mark.parametrize("place", [(11, 6), (0, 0), (23, 1), (12, 13)])
    def test_points_are_where_the_gradient_is_not_zero(self, layers, place):
        """With offsets of whole pixels, to the last pixel and its weight, also at borders."""
        network = network_with(*[whole] * layers, kind=ModulatedDeformConv2d)
        for layer in network:  # weights that differ by point and group alone, so that channels do not matter
            groups = layer.offset_groups
            by_point = torch.rand(groups, 1, *layer.kernel_size).repeat_interleave(4 // groups, 0)[:, 0]
            layer.weight.data = by_point.expand_as(layer.weight).clone().double()
        y, x = place[0], min(place[1], whole_chain(network)[-1].output_size[1] - 1)
        points = compose(whole_chain(network), y, x, limit=None)
        gradient = slopes(network, y, x).sum(0)
        within = points.inside
        got = splat(points.y[within], points.x[within], points.strength[within], SIZE)
        assert torch.equal(got > 0, gradient > 0)
        torch.testing.assert_close(got / got.sum(), gradient / gradient.sum(), rtol=1e-4, atol=1e-9)

    def test_offsets_of_zero_are_the_plain_grid(self):
        network = network_with(torch.zeros, torch.zeros, torch.zeros)
        points = compose(whole_chain(network), 11, 6, limit=None)
        # the last layer is 3x3 with stride (1, 2), then 2x3 dilated by 2, then 3x3
        rows = {11 - 3 + a + 2 * b + c for a, b, c in product(range(3), range(2), range(3))}
        columns = {2 * 6 - 4 + a + 2 * b + c for a, b, c in product(range(3), repeat=3)}
        assert set(zip(points.y.tolist(), points.x.tolist(), strict=True)) == set(product(rows, columns))

    def test_dilated_layers_have_the_plain_grid(self):
        """Plain layers too, and what a gradient of their own says."""
        network = nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=d, dilation=d) for d in (1, 2, 4))).double()
        for layer in network:
            nn.init.ones_(layer.weight)
        captured = capture(network, torch.rand(2, 40, 40), ["0", "1", "2"])
        points = compose(chain_to(captured, "2", 3), 20, 19, limit=None)
        batch = torch.rand(1, 2, 40, 40, dtype=torch.float64, requires_grad=True)
        network(batch)[0, :, 20, 19].sum().backward()
        gradient = batch.grad[0].sum(0)
        assert points.inside.all()
        assert len(points) == 9**3
        got = splat(points.y, points.x, points.strength, (40, 40))
        torch.testing.assert_close(got, gradient / gradient.sum())

    def test_known_offsets_give_known_points(self):
        """Both layers read their middle point alone: the first moved by (0.5, -1), the last by (2, 0.25) in pixels twice as wide."""
        first, last = (DeformConv2d(1, 1, 3, stride=stride, padding=1) for stride in (2, 1))
        with torch.no_grad():
            first.offset_branch.bias[8:10] = torch.tensor([0.5, -1.0])
            last.offset_branch.bias[8:10] = torch.tensor([2.0, 0.25])
        chain = whole_chain(nn.Sequential(nn.AvgPool2d(4), first, last), torch.rand(1, 80, 80))
        points = compose(chain, 3, 4)
        nth = int(((points.path == 4).all(1)).nonzero())
        assert (points.y[nth], points.x[nth]) == ((3 + 2) * 2 + 0.5, (4 + 0.25) * 2 - 1)
        assert points.in_image()[nth].tolist() == [10.5 * 4 + 1.5, 7.5 * 4 + 1.5]

    def test_padding_and_cutting_between_layers(self):
        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.last = DeformConv2d(2, 2, 3), DeformConv2d(2, 2, 3)

            def forward(self, image):
                return self.last(F.pad(self.first(image)[..., 2:], (0, 1, 3, 3)))

        network = Network().double()
        for layer in (network.first, network.last):
            nn.init.ones_(layer.weight)
        batch = torch.rand(1, 2, *SIZE, dtype=torch.float64, requires_grad=True)
        chain = whole_chain(network, batch[0].detach())
        for place in ((9, 10), (1, 0)):
            (gradient,) = torch.autograd.grad(network(batch)[0, :, *place].sum(), batch)
            points = compose(chain, *place)
            within = points.inside
            got = splat(points.y[within], points.x[within], points.strength[within], SIZE)
            torch.testing.assert_close(got / got.sum(), gradient[0].sum(0) / gradient.sum())

    def test_a_location_between_pixels(self):
        """Lies between the points of its neighbours."""
        chain = whole_chain(network_with(varying, varying)[1:], torch.rand(4, *SIZE))
        between = compose(chain, 5.25, 7.5)
        corners = [(compose(chain, 5 + y, 7 + x), (0.75, 0.25)[y] * 0.5) for y, x in product((0, 1), repeat=2)]
        torch.testing.assert_close(between.y, sum(points.y * share for points, share in corners))
        torch.testing.assert_close(between.x, sum(points.x * share for points, share in corners))

    def test_the_strongest_paths(self):
        network = network_with(varying, varying, varying)
        chain = whole_chain(network)
        every, some = compose(chain, 11, 6, limit=None), compose(chain, 11, 6, limit=50)
        wanted = every.strength.topk(50)
        torch.testing.assert_close(some.strength.sort(descending=True).values, wanted.values / wanted.values.sum())
        kept = {(*groups, *points) for groups, points in zip(some.group.tolist(), some.path.tolist(), strict=True)}
        best = wanted.indices
        assert kept == {(*g, *t) for g, t in zip(every.group[best].tolist(), every.path[best].tolist(), strict=True)}
        assert len(compose(chain, 11, 6)) == 9**3

    def test_paths_that_read_only_padding_come_after_all_others(self):
        """However strong they are, at the layer that leaves the map and at those below."""
        above, below = reversed(whole_chain(network_with(varying, varying)))
        above.offset[0, 0], below.offset[:, 1:3] = 1000.0, 1000.0
        above.point_weight[0, 0] = below.point_weight[:, 1:3] = 100.0
        every = compose([below, above], 11, 12, limit=None)
        alive = int(every.inside.sum())
        assert 40 < alive < len(every) - 10
        some = compose([below, above], 11, 12, limit=30)
        wanted = every.strength[every.inside].topk(30).values
        assert some.inside.all()
        torch.testing.assert_close(some.strength.sort(descending=True).values, wanted / wanted.sum())
        more = compose([below, above], 11, 12, limit=alive + 10)
        assert int(more.inside.sum()) == alive
        dead = every.strength[~every.inside].topk(10).values
        got = more.strength[~more.inside].sort(descending=True).values
        torch.testing.assert_close(got / got.sum(), dead / dead.sum())

    def test_offsets_that_are_no_numbers_lead_outside(self):
        network = network_with(lambda shape: torch.full(shape, torch.nan), varying)
        assert not compose(whole_chain(network), 11, 12).inside.any()


class TestErrors:
    def test_layers_that_do_not_follow_each_other(self):
        chain = whole_chain(network_with(varying, varying, varying))
        with pytest.raises(UsageError, match="2 can't follow 0: its input feature map is computed by 1"):
            compose([chain[0], chain[2]], 0, 0)
        with pytest.raises(UsageError, match="at least one layer"):
            compose([], 0, 0)

    @pytest.mark.parametrize("place", [(-1, 0), (0, 27), (24, 0)])
    def test_a_location_outside(self, place):
        chain = whole_chain(network_with(varying))
        with pytest.raises(UsageError, match="outside the output of 0, which is 24 x 27 pixels"):
            compose(chain, *place)
        with pytest.raises(UsageError, match="outside the output"):
            layer_points(chain[0], *place)

    def test_chains(self):
        captured = capture(network_with(varying, varying), torch.rand(4, *SIZE))
        assert [layer.name for layer in chain_to(captured, "1", 1)] == ["1"]
        assert [layer.name for layer in chain_to(captured, "1", 5)] == ["0", "1"]
        with pytest.raises(ValueError, match="length=0"):
            chain_to(captured, "1", 0)
        with pytest.raises(UsageError, match="No layer '7'"):
            chain_to(captured, "7", 1)
