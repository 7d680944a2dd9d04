"""Parameter groups by module type, and schedules against PyTorch's own."""

import pytest
import torch
from torch import nn

from dcnrun.config.schema import OptimConfig, Optimizer, Schedule
from dcnrun.errors import ConfigError
from dcnrun.models.conv import DeformConv2d
from dcnrun.models.roi_pool import DeformRoIPool
from dcnrun.training.optim import (
    build_average,
    build_optimizer,
    learning_rates,
    lr_scale,
    set_learning_rates,
    update_average,
)


class Renamed(nn.Module):
    """A deformable layer under a name that says nothing."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.x = DeformConv2d(4, 4, 3)


def config(**settings):
    return OptimConfig(**({"optimizer": Optimizer.sgd, "lr": 0.1, "schedule": Schedule.constant} | settings))


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_offset_branches_learn_at_their_own_rate(optimizer):
    network = Renamed()
    built = build_optimizer(network, config(optimizer=optimizer, offset_lr_mult=0.1, offset_bias_lr_mult=2.0))
    set_learning_rates(built, config(offset_lr_mult=0.1, offset_bias_lr_mult=2.0), 0, 10)
    rate_of = {id(p): group["lr"] for group in built.param_groups for p in group["params"]}
    rates = {name: rate_of[id(parameter)] for name, parameter in network.named_parameters()}
    assert rates == {
        "stem.weight": 0.1,
        "stem.bias": 0.1,
        "x.weight": 0.1,
        "x.bias": 0.1,
        "x.offset_branch.weight": pytest.approx(0.01),
        "x.offset_branch.bias": pytest.approx(0.02),
    }
    assert learning_rates(built) == {
        "train/lr": 0.1,
        "train/lr_offset": pytest.approx(0.01),
        "train/lr_offset_bias": pytest.approx(0.02),
    }


def test_a_step_moves_offsets_by_the_multiplied_rate():
    """The multiplier reaches the weights, not only the log."""
    moved = {}
    for multiplier in (1.0, 0.25):
        torch.manual_seed(0)
        network = Renamed()
        settings = config(offset_lr_mult=multiplier, momentum=0.0, weight_decay=0.0)
        optimizer = build_optimizer(network, settings)
        network.x(network.stem(torch.ones(1, 3, 9, 9) * torch.arange(9.0))).square().sum().backward()
        set_learning_rates(optimizer, settings, 0, 10)
        optimizer.step()
        moved[multiplier] = network.x.offset_branch.weight.detach().clone()
    assert moved[1.0].abs().sum() > 0
    torch.testing.assert_close(moved[0.25], moved[1.0] * 0.25)


@pytest.mark.parametrize(
    ("key", "use"),
    [
        ("offset_lr_mult", "Use conv=deformable or conv=modulated"),
        ("offset_bias_lr_mult", "Use conv=deformable or conv=modulated"),
        ("roi_offset_lr_mult", "Use model=faster_rcnn with model.roi_pool=deformable"),
    ],
)
def test_a_multiplier_that_matches_nothing_is_an_error(key, use):
    with pytest.raises(ConfigError, match=rf"optim\.{key}=0\.1 matches nothing: .*{use}"):
        build_optimizer(nn.Conv2d(3, 3, 3), config(**{key: 0.1}))


@pytest.mark.parametrize(("multiplier", "wanted"), [(None, 0.01), (0.5, 0.5)])
def test_the_whole_branch_of_roi_pooling_learns_at_a_rate_of_its_own(multiplier, wanted):
    """Hidden layers and biases included; 0.01 where nothing is set (Dai et al. 2017, section 3.3)."""
    network = nn.ModuleDict({"x": Renamed(), "pool": DeformRoIPool(["0"], 2, 1, channels=3, hidden=(4,))})
    built = build_optimizer(network, config(roi_offset_lr_mult=multiplier, offset_lr_mult=0.1))
    (group,) = (group for group in built.param_groups if group["name"] == "roi_offset")
    assert group["lr_mult"] == wanted
    assert {id(parameter) for parameter in group["params"]} == {id(p) for p in network["pool"].parameters()}
    assert [len(group["params"]) for group in built.param_groups] == [4, 1, 1, 4]


def test_the_average_of_weights_is_its_definition_and_statistics_go_with_them():
    """In fp64, by the sum over all steps; the count of batches is that of the network."""
    torch.manual_seed(0)
    network, decay = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), 0.7
    network[0].bias.requires_grad_(False)
    average = build_average(network, decay, torch.device("cpu"))
    seen = []
    for _ in range(5):
        network(torch.randn(2, 3, 8, 8))
        with torch.no_grad():
            for parameter in filter(lambda each: each.requires_grad, network.parameters()):
                parameter += torch.randn_like(parameter)
        update_average(average, network)
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
    shares = [decay**4, *((1 - decay) * decay**age for age in (3, 2, 1, 0))]
    for name, value in average.module.state_dict().items():
        if value.is_floating_point():
            wanted = sum(share * state[name].double() for share, state in zip(shares, seen, strict=True))
            torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-6)
        else:
            assert value == seen[-1][name] == 5
    assert torch.equal(average.module[0].bias, network[0].bias), "what is frozen is as it was, to the bit"


def test_what_is_frozen_is_in_no_group():
    network = Renamed()
    network.stem.requires_grad_(False)
    network.x.offset_branch.bias.requires_grad_(False)
    names = [group["name"] for group in build_optimizer(network, config()).param_groups]
    assert names == ["base", "offset"]


def torch_scales(make, steps):
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = make(optimizer)
    scales = []
    for _ in range(steps):
        scales.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return scales


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (Schedule.poly, lambda o: torch.optim.lr_scheduler.PolynomialLR(o, 30, power=0.9)),
        (Schedule.cosine, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 30)),
        (Schedule.step, lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [10, 20], gamma=0.1)),
        (Schedule.constant, lambda o: torch.optim.lr_scheduler.ConstantLR(o, factor=1.0)),
    ],
)
def test_schedules_equal_pytorchs(schedule, make):
    settings = config(schedule=schedule, step_at=[1 / 3, 2 / 3])
    ours = [lr_scale(settings, step, 30) for step in range(30)]
    assert ours == pytest.approx(torch_scales(make, 30), abs=1e-9)


def test_warm_up_rises_linearly_and_then_follows_the_schedule():
    plain, warm = config(schedule=Schedule.poly), config(schedule=Schedule.poly, warmup_steps=4)
    ratios = [lr_scale(warm, step, 20) / lr_scale(plain, step, 20) for step in range(8)]
    assert ratios == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])
