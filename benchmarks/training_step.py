"""What deformable convolution adds to a training step: ResNet-18 DeepLab, its last six 3x3 layers deformable, 128x128.

    python benchmarks/training_step.py benchmarks/results/training_step.json [rounds]

A step is forward pass, loss, backward pass and SGD, of 8 images in fp32. The standard network is the denominator; the
peer is the same network with torchvision's operator. All take their steps in turn in one process. Offset branches are
drawn at random, so that taps lie between pixels, as they do in training.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from dcnrun.bench.machine import describe, describe_kernel
from dcnrun.bench.timing import interleaved, quartiles_ms
from dcnrun.config.compose import compose
from dcnrun.tasks.build import build_model
from dcnrun.models.conv import OffsetBranch
from dcnrun.tasks.segmentation.task import pixel_loss
from dcnrun.training.optim import build_optimizer

LAYERS, BATCH, SIZE, CLASSES = 6, 8, 128, 8
ROUNDS = 15
FORMATS = {"channels-last": torch.channels_last, "NCHW": torch.contiguous_format}
# The kind of convolution, and what computes it.
VARIANTS = {
    "standard": ("standard", "auto"),
    "deformable": ("deformable", "auto"),
    "modulated": ("modulated", "auto"),
    "deformable, torchvision": ("deformable", "torchvision"),
    "modulated, torchvision": ("modulated", "torchvision"),
}


def training_step(kind: str, backend: str, memory_format: torch.memory_format) -> Callable[[], None]:
    # A small learning rate, so that the last step has the offsets of the first.
    config = compose([f"conv={kind}", f"conv.layers={LAYERS}", "optim.lr=1e-5"])
    network = build_model(config, CLASSES).network.to(memory_format=memory_format).train()
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, OffsetBranch):
            torch.nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5, generator=generator)
    optimizer = build_optimizer(network, config.optim)
    image = torch.randn(BATCH, 3, SIZE, SIZE, generator=generator).to(memory_format=memory_format)
    mask = torch.randint(CLASSES, (BATCH, SIZE, SIZE), generator=generator)

    def step() -> None:
        os.environ["DCNRUN_BACKEND"] = backend
        loss = pixel_loss(network(image), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    out, *more = sys.argv[1:]
    rounds = int(more[0]) if more else ROUNDS
    machine = describe() | {"kernel": describe_kernel(torch.float32)}
    steps = {
        (layout, variant): training_step(*made, memory_format)
        for layout, memory_format in FORMATS.items()
        for variant, made in VARIANTS.items()
    }
    times = {name: quartiles_ms(seconds) for name, seconds in interleaved(steps, rounds).items()}
    results = {
        layout: {
            variant: {
                "step_ms": times[layout, variant],
                "times_standard": round(times[layout, variant]["median"] / times[layout, "standard"]["median"], 3),
            }
            for variant in VARIANTS
        }
        for layout in FORMATS
    }
    setting = {"layers": LAYERS, "batch": BATCH, "size": SIZE, "dtype": "float32", "rounds": rounds}
    Path(out).write_text(json.dumps({"machine": machine, **setting, "results": results}, indent=1) + "\n")
    for layout, variants in results.items():
        for variant, result in variants.items():
            median = result["step_ms"]["median"]
            print(f"{layout:14} {variant:24} {median:8.1f} ms  {result['times_standard']:.2f} x standard")


if __name__ == "__main__":
    main()
