"""Runs with random weights, which were never trained, and images."""

import numpy as np
import torch
from PIL import Image

from dcnrun.config.compose import compose, to_yaml
from dcnrun.predict.command import predict
from dcnrun.predict.options import Options
from dcnrun.runs import RunFolder, write_text
from dcnrun.tasks.build import build_model
from dcnrun.training.checkpoint import save_best
from tests.training.factories import TINY, TINY_DETECTOR

CLASSES = ("disc", "square", "triangle", "star", "cross", "ring", "horseshoe")
MASK_RCNN = [*TINY_DETECTOR, "model=mask_rcnn", "model.mask_channels=8"]


def saved_run(folder, *overrides, base=TINY, seed=0, classes=None):
    """Write the folder of a run as training leaves it, with random weights that predict all kinds of things."""
    config = compose([*base, *overrides])
    if classes is None:
        classes = CLASSES if config.model.head.value in ("faster_rcnn", "mask_rcnn") else ("background", *CLASSES)
    torch.manual_seed(seed)
    network = build_model(config, len(classes)).network
    for parameter in network.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.3, 0.5)
    run = RunFolder(folder)
    write_text(run.config_file, to_yaml(config))
    save_best(run, {"step": 1, "network": network.state_dict(), "classes": list(classes)})
    return folder


def pixels(size, seed=0):
    """Colours (H, W, 3) that vary smoothly."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 4, 5, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size, mode="bilinear")[0]
    return (255 * fine).round().byte().permute(1, 2, 0).numpy()


def photo(path, size=(40, 56), seed=0):
    """Write an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(size, seed)).save(path)
    return path


def predicted(runs, words, out, *overrides, **options):
    """Run the command on runs and words."""
    arguments = [str(word) for word in (*runs, *words)]
    return predict(arguments, overrides, Options(out=out, **options))


def read_mask(path):
    return np.asarray(Image.open(path))


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
