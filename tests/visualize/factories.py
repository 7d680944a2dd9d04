"""Offsets that go somewhere without training."""

import torch

from dcnrun.runs import RunFolder
from dcnrun.training import checkpoint


def draw_offsets(folder):
    """Draw biases and weights of the offset branches in a run's best checkpoint at random."""
    path = RunFolder(folder).best_checkpoint
    state = checkpoint.load(path)
    generator = torch.Generator().manual_seed(0)
    for name, tensor in state["network"].items():
        if "offset_branch" in name:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (0.05 if tensor.dim() > 1 else 1.0))
    torch.save(state, path)
