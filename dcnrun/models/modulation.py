"""The modulation of DCNv2 (Zhu et al. 2018): what is sampled is weighed by a mask that the network learns."""

from torch import Tensor


def checked_mask_start(mask_start: float) -> float:
    """The mask before training: 0.5 (sigmoid, as in the paper) or 1 (2 x sigmoid, as in the authors' code), else ValueError."""
    if mask_start not in (0.5, 1.0):
        raise ValueError(f"mask_start must be 0.5 or 1, but is {mask_start}")
    return mask_start


def modulation_mask(logits: Tensor, mask_start: float) -> Tensor:
    """Factors from 0 to twice `mask_start`, which is what zero logits give."""
    return 2 * mask_start * logits.sigmoid()
