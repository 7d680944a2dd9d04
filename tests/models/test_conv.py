"""Every kind of convolution inherits one suite; then what only the deformable ones have."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from dcnrun.config.schema import ConvKind
from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d, OffsetBranch, make_conv

DEFORMABLE = [ConvKind.deformable, ConvKind.modulated]


@pytest.mark.parametrize("kind", list(ConvKind))
class TestEveryKind:
    def conv(self, kind, **kwargs):
        torch.manual_seed(0)
        return make_conv(kind, 8, 6, (3, 3), **kwargs)

    @pytest.mark.parametrize("stride", [1, 2])
    @pytest.mark.parametrize("dilation", [1, 3])
    @pytest.mark.parametrize("groups", [1, 2])
    def test_a_fresh_layer_is_the_plain_convolution(self, kind, stride, dilation, groups):
        settings = {"stride": (stride, stride), "padding": (dilation, dilation), "dilation": (dilation, dilation)}
        layer = self.conv(kind, **settings, groups=groups, offset_groups=2)
        plain = nn.Conv2d(8, 6, 3, **settings, groups=groups)
        plain.load_state_dict({name: layer.state_dict()[name] for name in plain.state_dict()})
        x = torch.randn(2, 8, 11, 9)
        torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)

    def test_all_parameters_get_gradients(self, kind):
        layer = self.conv(kind, padding=(1, 1))
        layer(torch.randn(2, 8, 6, 6)).square().sum().backward()
        for name, parameter in layer.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name

    def test_copies_and_pickles(self, kind):
        layer = self.conv(kind, padding=(1, 1), offset_groups=2)
        x = torch.randn(1, 8, 5, 5)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert torch.equal(other(x), layer(x))
            assert str(other) == str(layer)

    def test_saves_and_loads(self, kind, tmp_path):
        layer, other = (self.conv(kind, padding=(1, 1), offset_groups=2) for _ in range(2))
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.3)
        x = torch.randn(1, 8, 5, 5)
        assert not torch.equal(other(x), layer(x))
        torch.save(layer.state_dict(), tmp_path / "weights.pt")
        other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True), strict=True)
        assert torch.equal(other(x), layer(x))
        torch.save(layer, tmp_path / "layer.pt")
        assert torch.equal(torch.load(tmp_path / "layer.pt", weights_only=False)(x), layer(x))

    def test_channels_last_in_and_out(self, kind):
        layer = self.conv(kind, padding=(1, 1), offset_groups=2)
        x = torch.randn(2, 8, 5, 6)
        last = layer.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
        assert last.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(last, self.conv(kind, padding=(1, 1), offset_groups=2)(x), rtol=1e-5, atol=1e-5)

    def test_autocast(self, kind):
        layer = self.conv(kind, padding=(1, 1))
        x = torch.randn(1, 8, 6, 6)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = layer(x)
        torch.testing.assert_close(got.float(), layer(x), rtol=0.05, atol=0.05)


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
    """Every tap one pixel to the right: the plain convolution of the image moved one pixel to the left."""
    torch.manual_seed(0)
    layer = DeformConv2d(2, 3, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.offset_branch.bias[1::2] = 1.0  # x of every tap
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


def test_offset_groups_must_divide():
    with pytest.raises(ValueError, match="offset_groups=3 does not divide in_channels=8"):
        DeformConv2d(8, 8, 3, offset_groups=3)


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
