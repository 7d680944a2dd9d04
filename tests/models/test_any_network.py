"""Networks of other libraries: what is replaced computes the same until it is trained, and the offsets learn at a rate of their own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_small, resnet18

import dcnrun
from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d


def odd_network():
    """Kernels of other shapes, strides, a name for each, padding in words, a group for each channel."""
    return nn.Sequential(
        nn.Conv2d(3, 8, (5, 3), stride=(2, 1), padding=(2, 1), bias=False),
        nn.Conv2d(8, 8, 3, padding="same", dilation=2),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 4, 1),
        nn.Conv2d(4, 6, 2, stride=2),
    )


@pytest.mark.parametrize("kind", ["standard", "deformable", "modulated"])
def test_until_it_is_trained_the_network_computes_what_it_did(kind):
    torch.manual_seed(0)
    network, images = odd_network().double(), torch.randn(2, 3, 21, 24, dtype=torch.float64)
    wanted, weights = network(images), dict(network.named_parameters())
    replaced = dcnrun.convert(network, kind, ["*"])
    assert [layer.name for layer in replaced] == ["0", "1", "3", "5"]
    torch.testing.assert_close(network(images), wanted)
    after = dict(network.named_parameters())
    assert all(after[name] is weight for name, weight in weights.items())
    assert all(parameter.dtype == torch.float64 for parameter in after.values())
    network(images).sum().backward()
    assert all(parameter.grad is not None for parameter in after.values())


def test_a_number_counts_dense_convolutions_from_the_end():
    network = odd_network()
    assert [layer.name for layer in dcnrun.convert(network, "deformable", 2)] == ["1", "5"]
    assert [type(layer) is DeformConv2d for layer in network] == [False, True, False, False, False, True]
    assert [layer.name for layer in dcnrun.convert(network, "modulated", 1)] == [
        "0"
    ]  # what is converted is none of them
    assert dcnrun.convert(network, layers=0) == []


def test_patterns_find_depthwise_convolutions_too():
    network = mobilenet_v3_small(num_classes=2).eval()
    images = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        wanted = network(images)
        replaced = dcnrun.convert(network, "modulated", "features.[89].block.*")
        assert [layer.name for layer in replaced] == ["features.8.block.1.0", "features.9.block.1.0"]
        layer = network.get_submodule("features.9.block.1.0")
        assert (type(layer), layer.training) == (ModulatedDeformConv2d, False)
        assert layer.groups == layer.in_channels > 1
        torch.testing.assert_close(network(images), wanted, rtol=1e-4, atol=1e-5)


def test_the_dilated_control_keeps_the_size_and_is_that_convolution():
    network = odd_network()
    images = torch.randn(1, 3, 21, 24)
    size = network(images).shape
    dcnrun.convert(network, "dilated", ["0", "1", "3"], dilation=3)
    assert network(images).shape == size
    plain = nn.Conv2d(3, 8, (5, 3), stride=(2, 1), padding=(6, 3), dilation=3, bias=False)
    plain.weight = network[0].weight
    torch.testing.assert_close(network[0](images), plain(images))


def test_a_layer_that_stands_at_two_places_is_replaced_at_both():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    network = nn.ModuleDict({"one": nn.Sequential(shared), "other": nn.Sequential(shared, nn.ReLU())})
    dcnrun.convert(network, "deformable", 1)
    assert network["one"][0] is network["other"][0]
    assert type(network["one"][0]) is DeformConv2d


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"kind": "deformed"}, "kind='deformed' must be one of standard, dilated, deformable, modulated"),
        ({"kind": "dilated"}, "kind='dilated' needs a dilation"),
        ({"layers": 4}, "layers=4 must be from 0 to 3"),
        ({"layers": -1}, "layers=-1 must be from 0 to 3"),
        ({"layers": ["1", "conv9"]}, "layers='conv9' is no convolution with a kernel larger than 1x1; the last ones of the network are: 0, 1, 3, 5"),
        ({"layers": "4"}, "layers='4' is no convolution"),
        ({"layers": "5", "dilation": 2}, r"layer 5 has another output size with dilation=2, its kernel \(2, 2\)"),
        ({"layers": ["0", "1"], "offset_groups": 3}, "layer 1: offset_groups=3 does not divide in_channels=8"),
        ({"mask_start": 2}, "mask_start must be 0.5 or 1, but is 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_changes_nothing(arguments, problem):
    network = odd_network()
    before = list(network)
    with pytest.raises(ValueError, match=problem):
        dcnrun.convert(network, **arguments)
    assert list(network) == before


def test_padding_that_is_not_of_zeros_is_refused():
    with pytest.raises(ValueError, match="layer 0 has padding_mode='reflect'; expected 'zeros'"):
        dcnrun.convert(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")), layers=1)


def test_convolutions_of_other_classes_are_left_alone():
    class Same(nn.Conv2d):
        """Computes something else."""

    with pytest.raises(ValueError, match="last ones of the network are: none"):
        dcnrun.convert(nn.Sequential(Same(3, 3, 3)), layers="*")


def test_offset_branches_learn_at_a_rate_of_their_own():
    network = resnet18()
    plain = len(list(network.parameters()))
    dcnrun.convert(network, "deformable", ["layer4.*.conv?"])
    network.conv1.weight.requires_grad_(False)
    base, offset = dcnrun.offset_parameter_groups(network, lr=0.5, offset_lr_mult=0.1)
    assert (base["lr"], offset["lr"]) == (0.5, pytest.approx(0.05))
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert len(base["params"]) == plain - 1
    assert {names[id(parameter)].rpartition(".")[0] for parameter in offset["params"]} == {
        f"layer4.{block}.conv{conv}.offset_branch" for block in (0, 1) for conv in (1, 2)
    }
    assert torch.optim.SGD([base, offset]).param_groups[1]["name"] == "offset"
    assert [group["name"] for group in dcnrun.offset_parameter_groups(resnet18(), lr=1)] == ["base"]


@pytest.mark.slow
def test_the_example_of_the_docs_learns(capsys):
    text = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    imports, example = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(imports, "docs/python.md", "exec"), {"torch": torch, "network": resnet18()})
    with torch.random.fork_rng():
        exec(compile(example, "docs/python.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.count("now modulated: layer4.") == 3
    assert float(printed.split()[-1]) > 0.6  # by chance a quarter


def test_the_package_itself_brings_no_torch():
    check = "import dcnrun, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
    assert all(hasattr(dcnrun, name) for name in dcnrun.__all__)
    with pytest.raises(AttributeError, match="module 'dcnrun' has no attribute 'convrt'"):
        _ = dcnrun.convrt
