"""Record where a network samples for one image, by forward hooks that are found by the modules' types."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dcnrun.offsets.layers import Capture, Layer, RoIs
from dcnrun.offsets.recording.recorder import Recorder
from dcnrun.offsets.recording.running import as_batch, bare_module, evaluating

__all__ = ["Capture", "Layer", "RoIs", "capture"]


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
