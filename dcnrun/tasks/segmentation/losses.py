"""Losses of class scores (B, C, H, W) against masks (B, H, W) of classes or IGNORE, and the weights of classes.

Ignored pixels count nowhere, and a loss of none but them is 0 with a gradient of 0. All is computed in fp32.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from dcnrun.config.schema import Loss, MaskModelConfig, loss_terms
from dcnrun.config.validate import must_be
from dcnrun.data import IGNORE, SegmentationDataset
from dcnrun.data.sample import even_indices

_MOST_MASKS = 1000
"""Training masks that classes are counted in, evenly over the data set."""


def loss_problems(model: MaskModelConfig) -> Iterator[str]:
    """Yield what is wrong with the settings of the loss, each problem a line naming the key and the value."""
    *others, last = Loss
    try:
        loss_terms(model.loss)
    except ValueError as error:
        sums = f"{', '.join(others)} or {last}, or a sum of these, each once and with a factor above 0, such as"
        yield must_be("model.loss", model.loss, f"{sums} cross_entropy+0.5*dice, but has {str(error)!r}")
    if model.class_weights and not any(model.class_weights):
        yield must_be("model.class_weights", model.class_weights, "above 0 for some class")


def pixel_losses(scores: Tensor, mask: Tensor, model: MaskModelConfig, world_size: int = 1) -> dict[str, Tensor]:
    """Return the terms of `model.loss` by name, each times its factor; one that stands alone is called loss.

    Over several processes, whose gradients are averaged, cross-entropy and focal are means over the pixels of all of them, so
    that the gradient is that of one process with the whole batch. Dice and Lovasz are no sums over pixels: they are of each
    process's own batch, and averaged over the processes.
    """
    scores = scores.float()
    terms = loss_terms(model.loss)
    computed = {name: factor * _term(name, scores, mask, model, world_size) for name, factor in terms.items()}
    return {"loss" if len(terms) == 1 else f"loss_{name}": value for name, value in computed.items()}


def pixel_weight(mask: Tensor, model: MaskModelConfig) -> float:
    """Return what a mask counts for beside others: its labelled pixels, each times the weight of its class."""
    return _total_weight(mask, _weights(mask, model)).item()


def balanced_weights(dataset: SegmentationDataset) -> list[float]:
    """Return a weight for each class in inverse proportion to its pixels, such that the labelled pixels weigh 1 on average.

    Counted in up to 1000 masks; a class in none of them weighs as much as the rarest. 1 for all where no pixel is labelled.
    """
    classes = len(dataset.classes)
    counts = torch.zeros(classes, dtype=torch.float64)
    for index in even_indices(len(dataset), _MOST_MASKS):
        mask = dataset.mask(index).as_subclass(Tensor)
        counts += torch.bincount(mask[mask != IGNORE].flatten(), minlength=classes)
    found = counts[counts > 0]
    if not len(found):
        return [1.0] * classes
    weights = counts.sum() / (len(found) * torch.where(counts > 0, counts, found.min()))
    return [float(f"{weight:.6g}") for weight in weights.tolist()]


def cross_entropy(scores: Tensor, mask: Tensor, weights: Tensor | None = None, world_size: int = 1) -> Tensor:
    """Return the mean cross-entropy of the labelled pixels, weighted by the class (C,) of each.

    Over several processes it is divided by the mean of their weights, and so is a mean over all their pixels.
    """
    total = F.cross_entropy(scores, mask, weight=weights, ignore_index=IGNORE, reduction="sum")
    return total / _divisor(mask, weights, world_size)


def focal(
    scores: Tensor, mask: Tensor, gamma: float = 2.0, weights: Tensor | None = None, world_size: int = 1
) -> Tensor:
    """Return the mean of -(1 - p)^gamma log(p) with p the softmax score of a pixel's class (Lin et al. 2017, equation 4).

    Weights and processes as of `cross_entropy`, which it is where gamma is 0.
    """
    surprise = F.cross_entropy(scores, mask, ignore_index=IGNORE, reduction="none")
    # Away from 0, where a power below 1 has no gradient; p itself would round to 1 before.
    doubt = (-torch.expm1(-surprise)).clamp(min=1e-12)
    of_pixels = doubt.pow(gamma) * surprise
    if weights is not None:
        of_pixels = of_pixels * F.pad(weights, (0, IGNORE + 1 - len(weights)))[mask]
    return of_pixels.sum() / _divisor(mask, weights, world_size)


def dice(scores: Tensor, mask: Tensor) -> Tensor:
    """Return 1 - 2 sum(p t) / (sum(p) + sum(t)), averaged over the classes that the mask has.

    p are the softmax scores of a class and t is 1 where it is true; the sums are over all labelled pixels of the batch
    (Milletari et al. 2016, with plain sums in the denominator, for each class as in Sudre et al. 2017).
    """
    classes = torch.arange(scores.shape[1], device=mask.device)
    truth = mask[:, None] == classes[:, None, None]
    found = scores.softmax(1) * (mask != IGNORE)[:, None]
    common, sizes = ((found * truth).sum((0, 2, 3)), (found + truth).sum((0, 2, 3)))
    present = truth.any(3).any(2).any(0)
    of_classes = 1 - 2 * common / torch.where(present, sizes, 1.0)
    return (of_classes * present).sum() / present.sum().clamp(min=1)


def lovasz(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the Lovasz extension of 1 - IoU, averaged over the classes that the mask has (Lovasz-softmax, Berman et al. 2018).

    IoU is that of all labelled pixels of the batch. Where every softmax score is 0 or 1 the loss is 1 minus the mean IoU of
    these classes.
    """
    is_labelled = mask != IGNORE
    found, truth = scores.softmax(1).movedim(1, -1)[is_labelled], mask[is_labelled]
    of_classes = [_lovasz_of_class(found[:, label], truth == label) for label in torch.bincount(truth).nonzero()[:, 0]]
    return torch.stack(of_classes).mean() if of_classes else found.sum()


def _lovasz_of_class(found: Tensor, truth: Tensor) -> Tensor:
    """Return the loss of a class that some of the n pixels have: errors in falling order, each times what it adds to 1 - IoU."""
    errors, order = (truth.float() - found).abs().sort(descending=True)
    missed = truth[order].cumsum(0)
    total = missed[-1]
    union = total + torch.arange(1, len(order) + 1, device=order.device) - missed
    lost = missed.new_zeros(1, dtype=torch.float64)
    steps = torch.diff(1 - (total - missed).double() / union, prepend=lost)  # in fp64: as small as 1 / n
    return (errors * steps.float()).sum()


def _term(name: Loss, scores: Tensor, mask: Tensor, model: MaskModelConfig, world_size: int) -> Tensor:
    match name:
        case Loss.cross_entropy:
            return cross_entropy(scores, mask, _weights(scores, model), world_size)
        case Loss.focal:
            return focal(scores, mask, model.focal_gamma, _weights(scores, model), world_size)
        case Loss.dice:
            return dice(scores, mask)
        case Loss.lovasz:
            return lovasz(scores, mask)


def _weights(like: Tensor, model: MaskModelConfig) -> Tensor | None:
    """Return the weights of the classes (C,), where they have some."""
    return torch.tensor(model.class_weights, device=like.device) if model.class_weights else None


def _total_weight(mask: Tensor, weights: Tensor | None) -> Tensor:
    is_labelled = mask != IGNORE
    return is_labelled.sum() if weights is None else weights[mask[is_labelled]].sum(dtype=torch.float64)


def _divisor(mask: Tensor, weights: Tensor | None, world_size: int) -> Tensor:
    """Return the weight of the labelled pixels, of all processes on average; 1 where there are none, whose sums are 0."""
    weight = _total_weight(mask, weights).float()
    if world_size > 1:
        torch.distributed.all_reduce(weight)
        weight = weight / world_size
    return torch.where(weight > 0, weight, 1.0)
