"""Optimizer, parameter groups with learning rates of their own, and the schedule as a function of the step."""

import math

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dcnrun.config.schema import CONV_TRAITS, OptimConfig, Schedule
from dcnrun.config.schema import Optimizer as OptimizerName
from dcnrun.errors import ConfigError
from dcnrun.models.sampling import SamplingConv, SamplingRoIPool, sampling_layers


def build_optimizer(network: nn.Module, optim: OptimConfig, device_type: str = "cpu") -> Optimizer:
    """Build the optimizer over up to four groups: `base`, `offset` (weights of the offset branches of convolutions),
    `offset_bias` (their biases), and `roi_offset` (the offset branches of RoI pooling).

    Each group keeps its multiplier as `lr_mult`. Offset branches are found by the layers' interface, so a renamed layer
    can't lose its rate. ConfigError when a multiplier is set and there is no offset branch for it.
    """
    weights: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    of_rois: list[nn.Parameter] = []
    for layer in sampling_layers(network).values():
        for name, parameter in layer.offset_branch.named_parameters():
            if isinstance(layer, SamplingRoIPool):
                of_rois.append(parameter)
            else:
                (biases if name.endswith("bias") else weights).append(parameter)
    problems = _unmatched(optim, bool(weights), bool(of_rois))
    if problems:
        raise ConfigError(problems)
    special = {id(parameter) for parameter in weights + biases + of_rois}
    base = [parameter for parameter in network.parameters() if id(parameter) not in special]
    groups = [
        {"name": name, "params": learnt, "lr_mult": multiplier}
        for name, parameters, multiplier in (
            ("base", base, 1.0),
            (SamplingConv.branch_name, weights, optim.offset_multiplier),
            (f"{SamplingConv.branch_name}_bias", biases, optim.offset_bias_multiplier),
            (SamplingRoIPool.branch_name, of_rois, optim.roi_offset_multiplier),
        )
        if (learnt := [parameter for parameter in parameters if parameter.requires_grad])
    ]
    match optim.optimizer:
        case OptimizerName.sgd:
            optimizer: Optimizer = SGD(groups, lr=optim.lr, momentum=optim.momentum, weight_decay=optim.weight_decay)
        case OptimizerName.adamw:
            # In one pass over the weights, several times faster on the CPU. Elsewhere it would rule out clipping with fp16.
            fused = device_type == "cpu"
            optimizer = AdamW(groups, lr=optim.lr, weight_decay=optim.weight_decay, fused=fused)
    return optimizer


def build_average(network: nn.Module, decay: float, device: torch.device) -> AveragedModel:
    """Return what keeps an exponential moving average of a network's weights: decay x average + (1 - decay) x weights at each
    step, from the weights after the first step on (PyTorch's `AveragedModel`).

    Running statistics of batch normalisation are averaged with the same decay, since those of the trained network are
    of other weights than the average's; buffers of whole numbers, such as a count of batches, are copied.
    """
    moving = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # PyTorch's has no types
    return AveragedModel(network, device, multi_avg_fn=moving, use_buffers=True)


def update_average(average: AveragedModel, network: nn.Module) -> None:
    """Take the weights and buffers of a network after a step into its average."""
    average.update_parameters(network)
    for kept, learnt in zip(average.module.buffers(), network.buffers(), strict=True):
        if not learnt.is_floating_point():  # PyTorch would average and truncate it
            kept.copy_(learnt)


def _unmatched(optim: OptimConfig, has_offset_branches: bool, has_roi_offset_branch: bool) -> list[str]:
    """Return a problem for each multiplier that is set although the network has no offset branch for it."""
    kinds = " or ".join(f"conv={kind}" for kind, traits in CONV_TRAITS.items() if traits.learns_offsets)
    of_layers = f"no layer of this network has an offset branch. Use {kinds} with conv.layers of at least 1"
    of_rois = "this network has no deformable RoI pooling. Use model=faster_rcnn with model.roi_pool=deformable"
    return [
        f"optim.{key}={value} matches nothing: {why}, or leave it null"
        for key, value, there, why in (
            ("offset_lr_mult", optim.offset_lr_mult, has_offset_branches, of_layers),
            ("offset_bias_lr_mult", optim.offset_bias_lr_mult, has_offset_branches, of_layers),
            ("roi_offset_lr_mult", optim.roi_offset_lr_mult, has_roi_offset_branch, of_rois),
        )
        if value is not None and not there
    ]


def lr_scale(optim: OptimConfig, step: int, steps: int) -> float:
    """Factor of every learning rate at a step (the first is 0) of a run of `steps` steps.

    Linear warm-up rises to the schedule's own value: poly (1 - t)^power (Chen et al. 2017), step gamma^(drops passed),
    cosine (1 + cos(pi t)) / 2 (Loshchilov and Hutter 2017), with t = step / steps.
    """
    done = step / steps
    match optim.schedule:
        case Schedule.constant:
            scale = 1.0
        case Schedule.poly:
            scale = (1 - done) ** optim.poly_power
        case Schedule.step:
            scale = optim.step_gamma ** sum(done >= share for share in optim.step_at)
        case Schedule.cosine:
            scale = (1 + math.cos(math.pi * done)) / 2
    warmup = min(1.0, (step + 1) / (optim.warmup_steps + 1))
    return scale * warmup


def set_learning_rates(optimizer: Optimizer, optim: OptimConfig, step: int, steps: int) -> None:
    """Set each group's rate for a step: lr x its multiplier x the schedule."""
    scale = lr_scale(optim, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = optim.lr * group["lr_mult"] * scale


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """The rate of each group, as logged: `train/lr`, `train/lr_offset`, `train/lr_offset_bias`, `train/lr_roi_offset`."""
    return {
        "train/lr" if group["name"] == "base" else f"train/lr_{group['name']}": float(group["lr"])
        for group in optimizer.param_groups
    }
