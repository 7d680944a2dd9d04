"""Every kind of convolution passes one suite; then what only the deformable ones have."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from dcnrun.config.schema import CONV_TRAITS, ConvConfig, ConvKind
from dcnrun.models.conv import CONV_LAYERS, DeformConv2d, ModulatedDeformConv2d, OffsetBranch, PlainConv2d, make_conv
from dcnrun.models.convert import convert
from tests.models.conformance import ConvKindConformance

DEFORMABLE = [ConvKind.deformable, ConvKind.modulated]
WITH_A_KERNEL = [kind for kind, layer in CONV_LAYERS.items() if issubclass(layer, PlainConv2d)]


@pytest.mark.parametrize("kind", WITH_A_KERNEL)
class TestEveryKind(ConvKindConformance):
    pass


@pytest.mark.parametrize("kind", [kind for kind in ConvKind if kind not in WITH_A_KERNEL])
class TestEveryKindWithoutAKernel(ConvKindConformance):
    starts_as_plain_convolution = False


def test_every_kind_has_a_layer():
    assert CONV_LAYERS.keys() == CONV_TRAITS.keys() == set(ConvKind)


@pytest.mark.parametrize("kind", DEFORMABLE)
def test_offset_branch_starts_at_zero_and_has_the_layers_geometry(kind):
    layer = make_conv(kind, 8, 6, (3, 5), stride=(2, 1), padding=(2, 4), dilation=(2, 2), offset_groups=4)
    branch = layer.offset_branch
    assert isinstance(branch, OffsetBranch)
    assert not any(parameter.any() for parameter in branch.parameters())
    assert branch.out_channels == (2 if kind is ConvKind.deformable else 3) * 4 * 15
    for name in ("kernel_size", "stride", "padding", "dilation", "in_channels"):
        assert getattr(branch, name) == getattr(layer, name)


def test_mask_start():
    x = torch.randn(1, 4, 5, 5)
    for start in (0.5, 1.0):
        _, mask = ModulatedDeformConv2d(4, 4, 3, padding=1, mask_start=start).offsets(x)
        assert torch.equal(mask, torch.full_like(mask, start))
    with pytest.raises(ValueError, match=r"mask_start must be 0\.5 or 1, but is 0\.7"):
        ModulatedDeformConv2d(4, 4, 3, mask_start=0.7)


def test_half_the_mask_halves_the_output():
    torch.manual_seed(0)
    full = ModulatedDeformConv2d(4, 4, 3, padding=1, bias=False)
    half = ModulatedDeformConv2d(4, 4, 3, padding=1, bias=False, mask_start=0.5)
    half.load_state_dict(full.state_dict())
    x = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(2 * half(x), full(x))


def test_a_known_offset_moves_what_is_read():
    """Every sampling point one pixel to the right: the plain convolution of the image moved one pixel to the left."""
    torch.manual_seed(0)
    layer = DeformConv2d(2, 3, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.offset_branch.bias[1::2] = 1.0  # x of every sampling point
    x = torch.randn(1, 2, 8, 8)
    plain = nn.functional.conv2d(x, layer.weight, padding=1)
    torch.testing.assert_close(layer(x)[..., :-2], plain[..., 1:-1], rtol=1e-5, atol=1e-5)


def test_three_lines_outside_the_project(tmp_path):
    """In any folder, without what the command line needs."""
    three_lines = """
from dcnrun.models.conv import ModulatedDeformConv2d
layer = ModulatedDeformConv2d(3, 8, 3, padding=1)
y = layer(torch.randn(2, 3, 16, 16))
"""
    check = "print(tuple(y.shape), sorted({'hydra', 'lightning', 'typer', 'wandb'} & sys.modules.keys()))"
    command = [sys.executable, "-c", f"import sys, torch{three_lines}{check}"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "(2, 8, 16, 16) []\n", done.stderr


@pytest.mark.parametrize("groups", [0, 3])
def test_offset_groups_must_divide(groups):
    with pytest.raises(ValueError, match=f"offset_groups={groups} does not divide in_channels=8"):
        DeformConv2d(8, 8, 3, offset_groups=groups)


def trained(kind, *args, **settings):
    """A layer whose offsets and masks differ from place to place."""
    torch.manual_seed(0)
    layer = kind(*args, **settings)
    nn.init.normal_(layer.offset_branch.weight, std=0.2)
    return layer


@pytest.mark.parametrize("kind", [DeformConv2d, ModulatedDeformConv2d])
class TestAsThePlainConvolution:
    @pytest.mark.parametrize("padding", ["same", "valid"])
    @pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), ((2, 5), 1), ((4, 1), 3), (1, 1)])
    @pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
    def test_padding_in_words(self, kind, padding, kernel, dilation):
        layer, x = kind(4, 6, kernel, 1, padding, dilation), torch.randn(2, 4, 12, 13)
        plain = nn.Conv2d(4, 6, kernel, 1, padding, dilation)
        plain.load_state_dict({"weight": layer.weight, "bias": layer.bias})
        torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)
        assert f"padding={padding}" in str(layer)

    @pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
    def test_same_padding_with_learnt_offsets(self, kind):
        """As zeros around the image, written out; that of an even kernel has more of them at its end."""
        same, x = trained(kind, 4, 6, (4, 3), padding="same"), torch.randn(2, 4, 9, 8)
        around = nn.functional.pad(x, (1, 1, 1, 2))
        written_out = kind(4, 6, (4, 3))
        written_out.load_state_dict(same.state_dict())
        torch.testing.assert_close(same(x), written_out(around), rtol=1e-5, atol=1e-5)
        points, wanted = same.sampling(x), written_out.sampling(around)
        torch.testing.assert_close((points.y, points.x), (wanted.y - 1, wanted.x - 1), rtol=1e-5, atol=1e-5)

    def test_one_image_without_a_batch(self, kind):
        layer, x = trained(kind, 4, 6, 3, padding=1, offset_groups=2), torch.randn(3, 4, 9, 8)
        for image, wanted in zip(x, layer(x), strict=True):
            assert layer(image).shape == wanted.shape
            torch.testing.assert_close(layer(image), wanted, rtol=1e-5, atol=1e-5)
        alone, batch = layer.sampling(x[0]), layer.sampling(x[:1])
        assert alone.size == batch.size
        torch.testing.assert_close((alone.y, alone.x), (batch.y, batch.x))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"kernel_size": 0}, "kernel_size must be one or two integers >= 1, but is 0"),
            ({"stride": 0}, "stride must be one or two integers >= 1, but is 0"),
            ({"padding": -1}, "padding must be one or two integers >= 0, but is -1"),
            ({"dilation": (1, 2, 3)}, r"dilation must be one or two integers >= 1, but is \(1, 2, 3\)"),
            ({"padding": "full"}, "Invalid padding string 'full'"),
            ({"padding": "same", "stride": 2}, "padding='same' is not supported for strided convolutions"),
            ({"padding_mode": "reflect"}, "padding_mode must be 'zeros', but is 'reflect'"),
            ({"groups": 3}, "in_channels must be divisible by groups"),
        ],
    )
    def test_wrong_settings_are_named(self, kind, settings, message):
        with pytest.raises(ValueError, match=message):
            kind(**{"in_channels": 8, "out_channels": 6, "kernel_size": 3} | settings)

    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (torch.zeros(1, 3, 5, 5), ValueError, "input has 3 channels, but the layer has in_channels=8"),
            (torch.zeros(3, 5, 5), ValueError, "input has 3 channels, but the layer has in_channels=8"),
            (torch.zeros(8, 5), ValueError, r"input must be \(N, C, H, W\) or \(C, H, W\), but has shape \(8, 5\)"),
            (torch.zeros(1, 8, 5, 5).double(), TypeError, "weight has torch.float32, but input has torch.float64"),
            (torch.zeros(1, 8, 5, 5).long(), TypeError, "input must have a floating-point dtype, but has torch.int64"),
            (torch.zeros(1, 8, 5, 5, device="meta"), ValueError, "input is on meta, but the layer is on cpu"),
            (torch.zeros(1, 8, 2, 5), RuntimeError, "size"),
            ([[1.0]], TypeError, "input must be a tensor, but is list"),
        ],
    )
    def test_errors_speak_of_the_layer(self, kind, x, error, message):
        with pytest.raises(error, match=message) as raised:
            kind(8, 6, 3)(x)
        assert not {"offset", "branch", "18", "27"} & set(re.findall(r"\w+", str(raised.value)))


def test_features_of_a_backbone_by_torchvisions_extractor():
    network = torchvision.models.resnet18().eval()
    convert(network, ConvConfig(kind=ConvKind.modulated, layers="3"))
    for module in network.modules():
        if isinstance(module, OffsetBranch):
            nn.init.normal_(module.weight, std=0.05)
    extractor, x = (
        create_feature_extractor(network, {"layer4.1.conv1": "conv", "layer4": "c5"}),
        torch.randn(1, 3, 64, 64),
    )
    found = {}
    network.layer4[1].conv1.register_forward_hook(lambda layer, inputs, output: found.update(conv=output))
    network.layer4.register_forward_hook(lambda layer, inputs, output: found.update(c5=output))
    network(x)
    torch.testing.assert_close(extractor(x), found)


@pytest.mark.parametrize("kind", [DeformConv2d, ModulatedDeformConv2d])
def test_arguments_are_those_of_the_plain_convolution(kind):
    """By position as by name, device and dtype included."""
    layer = kind(4, 6, (3, 5), 2, (1, 2), 2, 2, False, "zeros", "cpu", torch.float64, offset_groups=2)
    plain = nn.Conv2d(4, 6, (3, 5), 2, (1, 2), 2, 2, False, "zeros", "cpu", torch.float64)
    for name in ("kernel_size", "stride", "padding", "dilation", "groups", "bias"):
        assert getattr(layer, name) == getattr(plain, name)
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.float64}
    x = torch.randn(1, 4, 9, 11, dtype=torch.float64)
    plain.load_state_dict({"weight": layer.weight})
    torch.testing.assert_close(layer(x), plain(x))


def test_a_tiny_network_learns_a_shift():
    """The offsets receive a useful gradient: an image moved by one pixel is undone by learning offsets alone."""
    torch.manual_seed(0)
    layer = DeformConv2d(1, 1, 1, bias=False)
    nn.init.ones_(layer.weight)
    layer.weight.requires_grad_(False)
    x = nn.functional.avg_pool2d(torch.randn(4, 1, 24, 24), 5, 1, 2)
    wanted = torch.roll(x, 1, dims=3)
    optimizer = torch.optim.Adam(layer.offset_branch.parameters(), lr=0.05)
    for _ in range(150):
        loss = (layer(x) - wanted)[..., 2:-2].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    y, x = layer.offsets(x)[0].detach().mean((0, 2, 3)).tolist()
    assert x == pytest.approx(-1.0, abs=0.15)
    assert y == pytest.approx(0.0, abs=0.15)
