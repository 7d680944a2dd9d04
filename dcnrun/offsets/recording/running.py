"""Run a network that may be anyone's, and leave it as it was."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from dcnrun.errors import UsageError


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
