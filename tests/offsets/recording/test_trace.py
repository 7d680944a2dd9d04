"""Where a map's pixels lie in the image, beside the centre of mass of the gradient of one of them."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dcnrun.config.schema import Backbone
from dcnrun.models.backbones import ResNetBackbone, set_output_stride
from dcnrun.offsets import capture


class Then(nn.Module):
    """Some operation, then a convolution whose input map is looked at."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation
        self.last = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, image):
        return self.last(self.operation(image))


class Residual(nn.Module):
    """A strided block, written without modules for what is not learnt."""

    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(nn.Conv2d(2, 2, 3, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 3, 1, 2, 2))
        self.shortcut = nn.Conv2d(2, 2, 1, 2)

    def forward(self, x):
        return torch.relu_(torch.cat([self.main(x) + self.shortcut(x), self.main(x)], 1)[:, 1:3])


def padded(x):
    """As torchvision's detectors pad right and below."""
    whole = x.new_zeros(1, 2, 64, 64)
    whole[0, :, : x.shape[2], : x.shape[3]].copy_(x[0])
    return F.avg_pool2d(whole, 2)


def squeezed(x):
    """Weighed by a value for each channel, which is no map of the image."""
    return x * torch.sigmoid(F.adaptive_avg_pool2d(x.detach(), 1))


OPERATIONS = {
    "even kernel, dilated": nn.Conv2d(2, 2, (5, 4), stride=(2, 1), padding=(2, 1), dilation=(1, 3)),
    "no padding": nn.Conv2d(2, 2, 7, stride=3),
    "same padding": nn.Conv2d(2, 2, 4, padding="same"),
    "reflected padding": nn.Conv2d(2, 2, 5, stride=2, padding=2, padding_mode="reflect"),
    "pointwise": nn.Conv2d(2, 2, 1),
    "pointwise, strided": nn.Conv2d(2, 2, 1, stride=4),
    "transposed": nn.ConvTranspose2d(2, 2, (3, 4), padding=1, dilation=(1, 2)),
    "pooled": nn.AvgPool2d(3, 2, 1),
    "pooled, default stride": nn.AvgPool2d((2, 3), ceil_mode=True),
    "pooled to a size": nn.AdaptiveAvgPool2d((8, 16)),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear, to a size": lambda x: F.interpolate(x, size=(75, 96), mode="bilinear"),
    "bilinear, its corners kept": lambda x: F.interpolate(x, size=(95, 48), mode="bilinear", align_corners=True),
    "bicubic": lambda x: F.interpolate(x, scale_factor=(1.5, 3), mode="bicubic"),
    "antialiased": lambda x: F.interpolate(x, size=(16, 12), mode="bilinear", antialias=True),
    "every third": lambda x: F.interpolate(x, scale_factor=1 / 3, mode="nearest"),
    "nearest exact": lambda x: F.interpolate(x, size=(16, 16), mode="nearest-exact"),
    "padded": lambda x: F.pad(x, (3, 1, 2, 5)),
    "cut": lambda x: x[:, :, 3::2, -40:],
    "padded as a batch": padded,
    "a stack of channels": lambda x: torch.stack([x[:, 0], x[:, 1]], 1).double().contiguous(),
    "residual": Residual(),
    "squeezed": squeezed,
}


def equal_weights(network):
    """A network in which all pixels of a window matter alike."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network.double().eval()


def centre_of_mass(forward, size, y, x):
    image = torch.ones(1, *size, dtype=torch.float64, requires_grad=True)
    forward(image)[0, :, y, x].sum().backward()
    weights = image.grad[0].sum(0)
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in size[1:])
    return ((weights.sum(1) @ rows) / weights.sum()).item(), ((weights.sum(0) @ columns) / weights.sum()).item()


@pytest.mark.parametrize("name", OPERATIONS)
def test_one_operation(name):
    network = equal_weights(Then(OPERATIONS[name]))
    image = torch.ones(2, 48, 48, dtype=torch.float64)
    (layer,) = capture(network, image, ["last"]).layers
    assert layer.input_grid.exact
    height, width = layer.output_size
    for y, x in ((height // 2, width // 2), (height // 2 - 1, width // 2 + 1)):
        wanted = centre_of_mass(network, image.shape, y, x)
        got = layer.output_grid.to_image(torch.tensor([y, x], dtype=torch.float64))
        assert got.tolist() == pytest.approx(wanted, abs=1e-6)
        assert layer.input_grid.to_map(got).tolist() == pytest.approx([y, x])


UNEVEN = {
    "nearest": nn.Upsample(scale_factor=2),
    "nearest, 3 for 2": nn.Upsample(scale_factor=1.5),
    "transposed": nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1),
    "transposed, odd": nn.ConvTranspose2d(2, 2, 3, stride=(2, 3), padding=(1, 0), output_padding=1),
}


@pytest.mark.parametrize("name", UNEVEN)
def test_where_neighbours_are_made_differently_it_holds_on_average(name):
    network = equal_weights(Then(UNEVEN[name]))
    (layer,) = capture(network, torch.ones(2, 24, 24, dtype=torch.float64), ["last"]).layers
    places = [(y, x) for y in range(12, 18) for x in range(12, 18)]  # whole periods of 2 and of 3
    weighed = torch.tensor([centre_of_mass(network.operation, (2, 24, 24), *place) for place in places])
    got = layer.input_grid.to_image(torch.tensor(places, dtype=torch.float64))
    assert got.mean(0).tolist() == pytest.approx(weighed.mean(0).tolist(), abs=1e-6)


@pytest.mark.parametrize("settings", [{"stride": 2, "padding": 1}, {"dilation": 2}, {"stride": 2, "ceil_mode": True}])
def test_the_largest_of_a_window_lies_in_its_middle(settings):
    """On average over many images; a pixel of the map is any of the window's."""
    pool = nn.MaxPool2d(3, **settings)
    (layer,) = capture(Then(pool), torch.rand(2, 40, 40), ["last"]).layers
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4000, 1, 12, 12, generator=generator).requires_grad_()
    pool(images)[:, 0, 1, 2].sum().backward()
    wanted = images.grad.nonzero()[:, 2:].double().mean(0)
    got = layer.input_grid.to_image(torch.tensor([1.0, 2.0]))
    assert got.tolist() == pytest.approx(wanted.tolist(), abs=0.1)


def test_what_is_not_known_is_guessed_to_span_the_image():
    network = Then(lambda x: F.avg_pool2d(x, 4).transpose(2, 3).flip(3))
    (layer,) = capture(network, torch.rand(2, 40, 64), ["last"]).layers
    assert layer.input_size == (16, 10)
    corners = torch.tensor([[-0.5, -0.5], [15.5, 9.5]])
    assert layer.input_grid.to_image(corners).tolist() == [[-0.5, -0.5], [39.5, 63.5]]
    assert not layer.input_grid.exact
    assert not layer.output_grid.exact


@pytest.mark.parametrize("backbone", [Backbone.resnet18, Backbone.resnet50])
@pytest.mark.parametrize("output_stride", [8, 32])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_layers_of_a_backbone(backbone, output_stride, axis):
    """Along one axis of a long image, far from the borders."""
    network = ResNetBackbone(backbone, 8)
    network.maxpool = nn.AvgPool2d(3, 2, 1)  # as linear as the rest; for the largest of a window see above
    set_output_stride(network, output_stride)
    network = equal_weights(network)
    size = (3, 416, 16) if axis == 0 else (3, 16, 416)
    names = ["conv1", "layer1.0.conv2", "layer2.0.conv2", "layer2.1.conv1", "layer3.0.conv2", "layer3.1.conv2"]
    for layer in capture(network, torch.ones(size, dtype=torch.float64), names).layers:
        place = [length // 2 for length in layer.output_size]
        wanted = centre_of_mass(partial(output_of, network, layer.name), size, *place)
        got = layer.output_grid.to_image(torch.tensor(place, dtype=torch.float64))
        assert got[axis].item() == pytest.approx(wanted[axis], abs=1e-6), layer.name
        assert layer.output_grid.exact


def output_of(network, name, image):
    outputs = []
    with network.get_submodule(name).register_forward_hook(lambda *call: outputs.append(call[-1])):
        network(image)
    return outputs[0]
