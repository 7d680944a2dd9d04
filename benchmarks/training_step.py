"""What deformable convolution and deformable RoI pooling add to a training step, on the CPU.

    python benchmarks/training_step.py deeplab benchmarks/results/training_step.json [rounds] [--dtype bfloat16]
    python benchmarks/training_step.py faster_rcnn benchmarks/results/detection_step.json [rounds] [--dtype bfloat16]
    python benchmarks/training_step.py unet benchmarks/results/unet_step.json [rounds] [--dtype bfloat16]

`deeplab`: ResNet-18 of output stride 16, its last six 3x3 layers deformable, 8 images of 128x128. `unet`: a U-Net on a
ResNet-34, the last three layers of its decoder deformable, on such images (needs the extra `dcnrun[smp]`). `faster_rcnn`: ResNet-18 with a feature pyramid,
its last three 3x3 layers deformable, 2 images of 320x320 with 10 boxes each. A step is forward pass, loss, backward pass and
SGD, in fp32, or under autocast in bf16. The standard network is the denominator; a peer is the same network with torchvision's operator. All take their
steps in turn in one process, in a fifth of the rounds for peers, whose steps take several times as long, beside the standard
network again. Offset branches are drawn at random, so that sampling points and bins lie between pixels, as they do in training.
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dcnrun.bench.machine import describe, describe_kernel
from dcnrun.bench.timing import interleaved, quartiles_ms
from dcnrun.config.compose import compose
from dcnrun.models.conv import OffsetBranch
from dcnrun.models.roi_pool import RoIOffsetBranch
from dcnrun.tasks.build import build_model
from dcnrun.training.optim import build_optimizer

CLASSES = 8
ROUNDS = 15
PEER_SHARE = 5  # of so many rounds, peers take one
FORMATS = {"channels-last": torch.channels_last, "NCHW": torch.contiguous_format}


@dataclass(frozen=True)
class Problem:
    """A network and the batch that it learns from; the variants are overrides, and what computes them."""

    settings: list[str]
    images: int
    side: int
    variants: dict[str, tuple[list[str], str]]
    labels: Callable[["Problem", torch.Generator], Mapping[str, object]]
    layouts: tuple[str, ...] = tuple(FORMATS)


def masks(problem: Problem, generator: torch.Generator) -> Mapping[str, object]:
    return {"mask": torch.randint(CLASSES, (problem.images, problem.side, problem.side), generator=generator)}


def boxes(problem: Problem, generator: torch.Generator) -> Mapping[str, object]:
    def drawn() -> torch.Tensor:
        corner = torch.rand(10, 2, generator=generator) * 0.7 * problem.side
        return torch.cat([corner, corner + (0.05 + 0.25 * torch.rand(10, 2, generator=generator)) * problem.side], 1)

    return {
        "sizes": [(problem.side, problem.side)] * problem.images,
        "boxes": [drawn() for _ in range(problem.images)],
        "labels": [torch.randint(CLASSES, (10,), generator=generator) for _ in range(problem.images)],
    }


PROBLEMS = {
    "deeplab": Problem(
        ["model=deeplab", "model.output_stride=16", "conv.layers=6"],
        images=8,
        side=128,
        variants={
            "standard": (["conv=standard"], "auto"),
            "deformable": (["conv=deformable"], "auto"),
            "modulated": (["conv=modulated"], "auto"),
            "deformable, torchvision": (["conv=deformable"], "torchvision"),
            "modulated, torchvision": (["conv=modulated"], "torchvision"),
        },
        labels=masks,
    ),
    "unet": Problem(
        ["model=smp", "model.encoder=resnet34", "conv.where=decoder", "conv.layers=3"],
        images=8,
        side=128,
        variants={
            "standard": (["conv=standard"], "auto"),
            "dilated": (["conv=dilated", "conv.dilation=2"], "auto"),
            "deformable": (["conv=deformable"], "auto"),
            "modulated": (["conv=modulated"], "auto"),
        },
        labels=masks,
        layouts=("channels-last",),  # as training has it unless asked
    ),
    "faster_rcnn": Problem(
        ["model=faster_rcnn", "conv.layers=3"],
        images=2,
        side=320,
        variants={
            "standard": (["conv=standard"], "auto"),
            "deformable": (["conv=deformable"], "auto"),
            "modulated": (["conv=modulated"], "auto"),
            "deformable RoI pooling": (["conv=standard", "model.roi_pool=deformable"], "auto"),
            "deformable, deformable RoI pooling": (["conv=deformable", "model.roi_pool=deformable"], "auto"),
            "deformable, torchvision": (["conv=deformable"], "torchvision"),
        },
        labels=boxes,
        layouts=("channels-last",),  # as training has it unless asked
    ),
}


def training_step(
    problem: Problem, overrides: list[str], backend: str, memory_format: torch.memory_format, dtype: torch.dtype
) -> Callable[[], None]:
    # A small learning rate, so that the last step has the offsets of the first.
    config = compose([*problem.settings, *overrides, "optim.lr=1e-5"])
    model = build_model(config, CLASSES)
    network = model.network.to(memory_format=memory_format).train()
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, OffsetBranch | RoIOffsetBranch):
            weight = (module[-1] if isinstance(module, RoIOffsetBranch) else module).weight
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5, generator=generator)
    optimizer = build_optimizer(network, config.optim)
    image = torch.randn(problem.images, 3, problem.side, problem.side, generator=generator)
    batch = {"image": image.to(memory_format=memory_format), **problem.labels(problem, generator)}

    def step() -> None:
        os.environ["DCNRUN_BACKEND"] = backend
        torch.manual_seed(0)  # of the regions that a detector draws
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            loss = sum(model.task.losses(network, batch, config, world_size=1).values(), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def compared(seconds: Mapping[tuple[str, str], Sequence[float]], layout: str, variant: str) -> dict[str, object]:
    """Return the step's time, and how many times that of the standard network in the same rounds it is."""
    step, standard = (quartiles_ms(seconds[layout, name]) for name in (variant, "standard"))
    times = round(step["median"] / standard["median"], 3)
    return {"step_ms": step, "times_standard": times, "rounds": len(seconds[layout, variant])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=PROBLEMS)
    parser.add_argument("out", type=Path)
    parser.add_argument("rounds", type=int, nargs="?", default=ROUNDS)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    asked = parser.parse_args()
    name, out, rounds, dtype = asked.network, asked.out, asked.rounds, getattr(torch, asked.dtype)
    problem = PROBLEMS[name]
    machine = describe() | {"kernel": describe_kernel(dtype)}
    print(f"{asked.dtype}, unit: {machine['kernel'].get('unit', 'vectors')}")
    steps = {
        (layout, variant): training_step(problem, *made, FORMATS[layout], dtype)
        for layout in problem.layouts
        for variant, made in problem.variants.items()
    }
    is_peer = {variant: backend != "auto" for variant, (_, backend) in problem.variants.items()}
    ours = {name: step for name, step in steps.items() if not is_peer[name[1]]}
    beside_peers = {name: step for name, step in steps.items() if is_peer[name[1]] or name[1] == "standard"}
    seconds = {False: interleaved(ours, rounds), True: interleaved(beside_peers, max(1, rounds // PEER_SHARE))}
    results = {
        layout: {variant: compared(seconds[peer], layout, variant) for variant, peer in is_peer.items()}
        for layout in problem.layouts
    }
    setting = {
        "network": name,
        "settings": problem.settings,
        "batch": problem.images,
        "size": problem.side,
        "dtype": asked.dtype,
        "rounds": rounds,
    }
    out.write_text(json.dumps({"machine": machine, **setting, "results": results}, indent=1) + "\n")
    for layout, variants in results.items():
        for variant, result in variants.items():
            median = result["step_ms"]["median"]
            print(f"{layout:14} {variant:36} {median:8.1f} ms  {result['times_standard']:.2f} x standard")


if __name__ == "__main__":
    main()
