"""Trained runs whose offsets move without training, and images."""

import numpy as np
import torch
from PIL import Image

from dcnrun.config.compose import compose
from dcnrun.offsets.objects import Thresholds
from dcnrun.runs import RunFolder
from dcnrun.training import checkpoint
from dcnrun.training.run import train
from dcnrun.visualize.command import visualize_offsets
from dcnrun.visualize.options import Options
from tests.training.factories import TINY

# One picture of one place, without what most tests don't look at.
QUICK = {"at": ((20, 30),), "limit": 0, "page": False, "layers": ("layer4.1.conv2",)}
FIRST = "val-000000"
# Feature maps of 8 x 8 for four images.
FINE = ("model.output_stride=8", "data.val_images=4", "data.image_size=64")
LAYERS = ["backbone.layer4.0.conv2", "backbone.layer4.1.conv1", "backbone.layer4.1.conv2"]
THRESHOLDS = Thresholds(medium=150, large=400)


def draw_offsets(folder):
    """Draw biases and weights of the offset branches in a run's best checkpoint at random."""
    path = RunFolder(folder).best_checkpoint
    state = checkpoint.load(path)
    generator = torch.Generator().manual_seed(0)
    for name, tensor in state["network"].items():
        if "offset_branch" in name:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (0.05 if tensor.dim() > 1 else 1.0))
    torch.save(state, path)


def trained(folder, *overrides, base=TINY, drawn=True):
    """Train for one step, then draw the offset branches at random unless their offsets may stay near 0."""
    every = [*base, "trainer.steps=1", *overrides]
    train(compose(every), every, folder)
    if drawn:
        draw_offsets(folder)
    return folder


def quick(arguments, out, overrides=(), **options):
    return visualize_offsets([str(word) for word in arguments], overrides, Options(out=out, **(QUICK | options)))


def photo(path, size=(40, 30), mode="RGB", **settings):
    """Write an image whose colours change over it, so that turning shows."""
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([5 * x, 5 * y, x + y], -1).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **settings)
    return path


def written_files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
