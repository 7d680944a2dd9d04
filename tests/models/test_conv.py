"""Every kind of convolution passes one suite; then what only the deformable ones have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from dcnrun.config.schema import CONV_TRAITS, ConvKind
from dcnrun.models.conv import CONV_LAYERS, DeformConv2d, ModulatedDeformConv2d, OffsetBranch, make_conv
from tests.models.conformance import ConvKindConformance

DEFORMABLE = [ConvKind.deformable, ConvKind.modulated]


@pytest.mark.parametrize("kind", list(ConvKind))
class TestEveryKind(ConvKindConformance):
    pass


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


@pytest.mark.parametrize("wrong", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}])
def test_padding_is_of_zeros_and_given_in_numbers(wrong):
    with pytest.raises(ValueError, match="padding must be numbers of zeros"):
        DeformConv2d(8, 8, 3, **wrong)


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
