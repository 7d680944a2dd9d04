"""The layers of DCNv3 and DCNv4: how they start, where they sample, and the authors' weights."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from dcnrun.export import export_onnx
from dcnrun.models.deform_sampling import DCNv3, DCNv4, from_dcnv3_state, from_dcnv4_state
from dcnrun.ops import deform_conv2d

BOTH = pytest.mark.parametrize("kind", [DCNv3, DCNv4])


def trained(layer, std=0.3):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += std * torch.randn(parameter.shape, generator=generator)
    return layer


# How they start ----------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("remove_center", [False, True])
def test_a_fresh_layer_projects_the_mean_of_each_window(kind, remove_center):
    torch.manual_seed(0)
    layer = kind(8, 6, 3, 2, 1, groups=2, remove_center=remove_center)
    x = torch.randn(2, 8, 9, 8)
    means = F.avg_pool2d(x, 3, 2, 1)
    if remove_center:
        means = (9 * means - x[..., ::2, ::2]) / 8
    torch.testing.assert_close(layer(x), F.conv2d(means, layer.output_proj.weight), rtol=1e-4, atol=1e-5)


@BOTH
def test_it_gives_what_the_convolution_before_it_gave_on_an_even_map(kind):
    torch.manual_seed(0)
    old, layer = nn.Conv2d(8, 6, 3), kind(8, 6, 3, groups=4)
    layer.take_weights(old)
    x = torch.randn(2, 8, 1, 1).expand(-1, -1, 5, 5)
    torch.testing.assert_close(layer(x), old(x), rtol=1e-5, atol=1e-5)


@BOTH
def test_a_convolution_with_groups_leaves_the_projection_as_drawn(kind):
    layer = kind(8, 8, 3)
    drawn = layer.output_proj.weight.clone()
    layer.take_weights(nn.Conv2d(8, 8, 3, groups=2))
    assert torch.equal(layer.output_proj.weight, drawn)


# As much as a convolution has ---------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [(64, 64), (48, 96)])
def test_as_many_parameters_or_flops_as_the_convolution(kind, stride, channels):
    """To half a group's step: PyTorch's counts of one and the other."""
    plain, x = nn.Conv2d(*channels, 3, stride, 1, bias=False), torch.randn(1, channels[0], 12, 12)

    def counts(layer):
        with FlopCounterMode(display=False) as flops:
            layer(x)
        return torch.tensor([sum(p.numel() for p in layer.parameters()), flops.get_total_flops()])

    def made(match, groups):
        return kind(*channels, 3, stride, 1, groups=groups, bias=False, match=match)

    for index, match in enumerate(("parameters", "flops")):
        layer = made(match, 4)
        step = (counts(made(match, 4)) - counts(made("layers", 4)))[index] / (layer.sampled_channels - channels[0]) * 4
        assert layer.sampled_channels % 4 == 0
        assert abs(counts(layer) - counts(plain))[index] <= 0.5 * step + 1
        assert counts(made("layers", 4))[index] < counts(plain)[index]


@BOTH
def test_a_wider_layer_starts_like_the_convolution_too(kind):
    torch.manual_seed(0)
    old, layer = nn.Conv2d(32, 24, 3), kind(32, 24, 3, groups=2, match="parameters")
    assert layer.sampled_channels > 32
    layer.take_weights(old)
    x = torch.randn(2, 32, 1, 1).expand(-1, -1, 5, 5)
    torch.testing.assert_close(layer(x), old(x), rtol=1e-4, atol=1e-5)
    assert f"sampled_channels={layer.sampled_channels}" in str(layer)


# Where they sample ---------------------------------------------------------------------------------------------------------

GEOMETRIES = [
    {"kernel_size": 3, "padding": 1, "groups": 2},
    {"kernel_size": (3, 5), "stride": (2, 1), "padding": (2, 1), "dilation": (1, 2), "groups": 4, "offset_scale": 1.5},
    {"kernel_size": 3, "padding": 0, "dilation": 2, "remove_center": True, "offset_scale": 0.5},
    {"kernel_size": (2, 4), "padding": (0, 2), "groups": 8},
]


@BOTH
@pytest.mark.parametrize("settings", GEOMETRIES, ids=str)
def test_what_is_watched_and_drawn_is_what_is_computed(kind, settings):
    """The offsets and factors that others see, put into a modulated convolution with weights of one."""
    torch.manual_seed(0)
    layer = trained(kind(8, 6, **settings))
    x = torch.randn(2, 8, 11, 12)
    offset, factors = layer.offsets(x)
    ones = torch.ones(8, 1, *layer.kernel_size)
    geometry = layer.stride, layer.padding, layer.dilation
    sampled = deform_conv2d(layer.value_proj(x), offset, ones, None, *geometry, factors)
    assert layer(x).shape == F.conv2d(x, torch.zeros(6, 8, *layer.kernel_size), None, *geometry).shape
    torch.testing.assert_close(layer(x), layer.output_proj(sampled), rtol=1e-4, atol=1e-4)


def test_the_pointwise_branch_looks_at_the_centre_of_each_window():
    torch.manual_seed(0)
    layer = DCNv4(4, 4, (3, 5), (2, 1), (2, 0), (1, 2))
    nn.init.normal_(layer.offset_branch.weight)
    x = torch.randn(1, 4, 9, 12)
    as_kernel = torch.zeros(45, 4, 3, 5)
    as_kernel[:, :, 1:2, 2:3] = layer.offset_branch.weight
    wanted = F.conv2d(x, as_kernel, layer.offset_branch.bias, (2, 1), (2, 0), (1, 2))
    torch.testing.assert_close(layer.offset_branch(x), wanted, rtol=1e-5, atol=1e-5)


@BOTH
def test_one_image_without_a_batch(kind):
    layer, x = trained(kind(4, 6, 3, padding=1, groups=2)), torch.randn(2, 4, 6, 5)
    torch.testing.assert_close(layer(x[0]), layer(x)[0])
    alone, batch = layer.sampling(x[0]), layer.sampling(x[:1])
    torch.testing.assert_close((alone.y, alone.x), (batch.y, batch.x))


@pytest.mark.slow  # two exports; that of the usual grid is tested of every kind
def test_export_of_another_grid(tmp_path):
    """Written only if onnxruntime gives the layer's own output; the usual grid is tested of every kind."""
    for library in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(library)
    layer = trained(DCNv3(4, 4, 3, padding=1, groups=2, offset_scale=1.5, remove_center=True))
    export_onnx(layer, torch.randn(1, 4, 6, 7), tmp_path / "layer.onnx", any_size=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": 3}, "groups=3 does not divide in_channels=8"),
        ({"kernel_size": 0}, "kernel_size must be one or two integers >= 1, but is 0"),
        ({"padding_mode": "reflect"}, "padding_mode must be 'zeros', but is 'reflect'"),
        ({"kernel_size": 2, "remove_center": True}, r"remove_center needs a kernel of odd sides.*\(2, 2\)"),
    ],
)
def test_errors_speak_of_the_layer(settings, message):
    with pytest.raises(ValueError, match=message):
        DCNv4(**{"in_channels": 8, "out_channels": 8, "kernel_size": 3} | settings)


def test_what_a_layer_says_of_itself():
    said = str(DCNv4(8, 6, 3, 2, 1, groups=2, offset_scale=2.0, remove_center=True))
    assert "8, 6, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1), groups=2" in said
    assert "offset_scale=2.0, remove_center=True" in said


# The authors' weights ------------------------------------------------------------------------------------------------------


def published_points(kernel, remove_center):
    """The sampling points of the authors' layers around (0, 0), x before y, the kernel's columns as the outer loop."""
    half = kernel // 2
    points = [(x, y) for x in range(-half, half + 1) for y in range(-half, half + 1)]
    return [point for point in points if not remove_center or point != (0, 0)]


def published_sampling(value, offset, factors, groups, kernel, offset_scale, remove_center):
    """(N, H, W, C) sampled as the authors have it, stride 1, by PyTorch's grid_sample: offset (N, H, W, G, P, 2), factors
    (N, H, W, G, P)."""
    _, height, width, channels = value.shape
    points = torch.tensor(published_points(kernel, remove_center), dtype=value.dtype)
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centres = torch.stack([xs, ys], -1).to(value.dtype)[None, :, :, None]
    output = []
    for group, part in enumerate(value.split(channels // groups, -1)):
        at = centres + (points + offset[:, :, :, group]) * offset_scale
        normed = (2 * at + 1) / torch.tensor([width, height], dtype=value.dtype) - 1
        sampled = F.grid_sample(
            part.permute(0, 3, 1, 2), normed.flatten(2, 3), padding_mode="zeros", align_corners=False
        )
        sampled = sampled.unflatten(3, (width, len(points))).permute(0, 2, 3, 1, 4)
        output.append((sampled * factors[:, :, :, group, None]).sum(-1))
    return torch.cat(output, -1)


def random_state(shapes):
    generator = torch.Generator().manual_seed(0)
    return {
        f"{name}.{kind}": 0.3 * torch.randn(shape if kind == "weight" else shape[:1], generator=generator).double()
        for name, shape in shapes.items()
        for kind in ("weight", "bias")
    }


def linear(state, name, x):
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


PUBLISHED = [
    {"groups": 2, "kernel": 3, "offset_scale": 1.0, "remove_center": False},
    {"groups": 4, "kernel": 5, "offset_scale": 2.0, "remove_center": True},
]


@pytest.mark.parametrize("pointwise", [True, False])
@pytest.mark.parametrize("settings", PUBLISHED, ids=str)
def test_dcnv4s_weights_are_converted(settings, pointwise):
    groups, kernel, channels = settings["groups"], settings["kernel"], 16
    points = kernel**2 - settings["remove_center"]
    shapes = {"offset_mask": (math.ceil(3 * groups * points / 8) * 8, channels)}
    if pointwise:
        shapes |= {"value_proj": (channels, channels), "output_proj": (channels, channels)}
    state = random_state(shapes)
    x = torch.randn(2, 7, 6, channels, dtype=torch.float64)

    predicted = linear(state, "offset_mask", x)[..., : 3 * groups * points].unflatten(-1, (groups, 3 * points))
    offset, factors = predicted[..., : 2 * points].unflatten(-1, (points, 2)), predicted[..., 2 * points :]
    value = linear(state, "value_proj", x) if pointwise else x
    wanted = published_sampling(value, offset, factors, **settings)
    wanted = linear(state, "output_proj", wanted) if pointwise else wanted

    ours = {name: settings[name] for name in ("groups", "offset_scale", "remove_center")}
    layer = DCNv4(channels, channels, kernel, padding=kernel // 2, dtype=torch.float64, **ours)
    layer.load_state_dict(from_dcnv4_state(state, layer))
    torch.testing.assert_close(layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), wanted)


@pytest.mark.parametrize("settings", PUBLISHED, ids=str)
def test_dcnv3s_weights_are_converted(settings):
    groups, kernel, channels = settings["groups"], settings["kernel"], 16
    points = kernel**2 - settings["remove_center"]
    state = random_state(
        {
            "dw_conv.0": (channels, 1, kernel, kernel),
            "dw_conv.1.1": (channels,),
            "offset": (2 * groups * points, channels),
            "mask": (groups * points, channels),
            "input_proj": (channels, channels),
            "output_proj": (channels, channels),
        }
    )
    x = torch.randn(2, 7, 6, channels, dtype=torch.float64)

    depthwise = F.conv2d(
        x.permute(0, 3, 1, 2), state["dw_conv.0.weight"], state["dw_conv.0.bias"], 1, kernel // 2, 1, channels
    )
    norm = F.layer_norm(
        depthwise.permute(0, 2, 3, 1), (channels,), state["dw_conv.1.1.weight"], state["dw_conv.1.1.bias"], 1e-6
    )
    features = F.gelu(norm)
    offset = linear(state, "offset", features).unflatten(-1, (groups, points, 2))
    factors = linear(state, "mask", features).unflatten(-1, (groups, points)).softmax(-1)
    sampled = published_sampling(linear(state, "input_proj", x), offset, factors, **settings)
    wanted = linear(state, "output_proj", sampled)

    ours = {name: settings[name] for name in ("groups", "offset_scale", "remove_center")}
    layer = DCNv3(channels, channels, kernel, padding=kernel // 2, dtype=torch.float64, **ours)
    layer.load_state_dict(from_dcnv3_state(state, layer))
    torch.testing.assert_close(layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"offset_mask.weight": torch.zeros(64, 16)},
            "offset_mask.weight has 64 rows, but 2 groups of 9 points need 56",
        ),
        ({"offset_mask_dw.weight": torch.zeros(16, 1, 3, 3)}, "has offset_mask_dw.weight, which this layer has not"),
        ({"center_feature_scale_proj_bias": torch.zeros(2)}, "has center_feature_scale_proj_bias, which this layer"),
    ],
)
def test_weights_of_another_layer_are_refused(change, message):
    state = random_state({"offset_mask": (56, 16)})
    with pytest.raises(ValueError, match=message):
        from_dcnv4_state(state | change, DCNv4(16, 16, 3, groups=2))
    with pytest.raises(ValueError, match=r"lacks dw_conv\.0\.bias"):
        from_dcnv3_state(state, DCNv3(16, 16, 3, groups=2))
    with pytest.raises(ValueError, match=r"has output_proj\.bias, but the layer's projections have no bias"):
        from_dcnv4_state(state | {"output_proj.bias": torch.zeros(16)}, DCNv4(16, 16, 3, groups=2, bias=False))
