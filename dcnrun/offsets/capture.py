"""Run a network on one image, leave it as it was, and record where it samples."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import cast

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

    Recorded are the deformable layers, the convolutions named in `layers`, and plain convolutions on the way from one of
    these to the next. Layers that run on anything but a batch of one, such as regions, are left out.

    Args:
        model: any network with deformable layers; its mode, and the hooks on it, stay as they were.
        image: (3, H, W) as the network takes it, normalised.
        layers: names of convolutions to record though they are plain, such as those of a standard run that other runs make deformable.
        forward: what to call with the batch (1, 3, H, W) instead of the model.

    Raises:
        UsageError: nothing to record, a name in `layers` that is not a convolution or did not run, or not an image.
    """
    raw = raw_model(model)
    recorder = Recorder(raw, layers or ())
    batch = as_batch(raw, image)
    with evaluating(raw), torch.no_grad(), recorder.recording(batch):
        (forward or raw)(batch)
    return recorder.result()


def raw_model(model: nn.Module) -> nn.Module:
    """Unwrap a network from what PyTorch puts around it for several devices or to compile it."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = cast(nn.Module, model._orig_mod)
        else:
            return model


def as_batch(model: nn.Module, image: Tensor) -> Tensor:
    """Make an image (3, H, W) a batch of one on the network's device and in its precision; UsageError for another shape."""
    if image.dim() != 3 or 0 in image.shape:
        raise UsageError(f"An image must be (channels, height, width), but has shape {tuple(image.shape)}.")
    parameter = next(model.parameters(), None)
    return image[None] if parameter is None else image[None].to(parameter)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode and switch off compiled code; afterwards every module has its own mode again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        # Compiled code runs no hooks. If the compiler was not imported, nothing is compiled.
        with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
