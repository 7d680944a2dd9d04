"""Run a network on one image, leave it as it was, and record where it samples."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from dcnrun.errors import UsageError
from dcnrun.offsets.layers import Capture
from dcnrun.offsets.recording.recorder import Recorder


def capture(
    model: nn.Module,
    image: Tensor,
    layers: Sequence[str] | None = None,
    forward: Callable[[Tensor], object] | None = None,
) -> Capture:
    """Run a network on one image, in evaluation mode and without gradients, and record where it sampled.

    Recorded are the deformable layers, the plain convolutions named in `layers`, and those on the way from one of these
    to the next; layers that run on anything but a batch of one, such as regions, are left out.

    Args:
        model: any network with `DeformConv2d` layers; the network's mode, and what is hooked to it, stay as they were.
        image: (3, H, W) as the network takes it, normalised.
        layers: names of plain convolutions, such as those of a standard run that in other runs are deformable.
        forward: what to call with the batch (1, 3, H, W) instead of the model.

    Raises:
        UsageError: nothing to record, a name in `layers` that is no convolution or did not run, or no image.
    """
    bare = bare_module(model)
    recorder = Recorder(bare, layers or ())
    batch = as_batch(bare, image)
    with evaluating(bare), torch.no_grad(), recorder.recording(batch):
        (forward or bare)(batch)
    return recorder.result()


def bare_module(model: nn.Module) -> nn.Module:
    """The network inside of what PyTorch wraps around it for several devices or when it compiles it."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = cast(nn.Module, model._orig_mod)
        else:
            return model


def as_batch(model: nn.Module, image: Tensor) -> Tensor:
    """An image (3, H, W) as a batch of one on the network's device and in its precision; UsageError for another shape."""
    if image.dim() != 3 or 0 in image.shape:
        raise UsageError(f"An image must be (channels, height, width), but has shape {tuple(image.shape)}.")
    parameter = next(model.parameters(), None)
    return image[None] if parameter is None else image[None].to(parameter)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and nothing compiled; every module gets back the mode that it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with _uncompiled():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _uncompiled() -> AbstractContextManager[Any]:
    """Compiled code runs no hooks. Without the compiler's import nothing is compiled."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
