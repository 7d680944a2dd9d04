"""What is wrong with a layer's offsets and masks, in words, and which settings may fix it."""

from collections.abc import Iterator
from math import isfinite

from dcnrun.offsets.statistics.health import HARDLY_MOVES, LOST, LayerHealth, MaskHealth

# If all but one in a hundred sampling points hardly move, the layer is the plain convolution that it started as.
NEVER_LEFT_ZERO = 0.99
# 1 is the same offsets, 0 unrelated ones. Groups that differ by a few percent of their size share one pattern.
GROUPS_ALIKE = 0.95
# A mask below this takes away nearly all of a sample.
MASK_IS_ZERO = 0.05
# If nine in ten masks vary by less, they scale a sample by about the same everywhere: weights can do that.
MASK_IS_CONSTANT = 0.1


def layer_warnings(health: LayerHealth, offset_lr_mult: float, has_kernel: bool = True) -> list[str]:
    """Return a line for each problem of a layer, with settings that may fix it; `offset_lr_mult` is that of its run.

    Where a layer has no kernel (DCNv3, DCNv4), masks take the place of its weights: such ones as would do nothing beside weights
    are then no problem.
    """
    masks = _mask_problems(health.mask) if has_kernel else ()
    problems = *_offset_problems(health, offset_lr_mult, has_kernel), *masks
    return [f"{health.name}: {line}" for line in problems]


def _offset_problems(health: LayerHealth, offset_lr_mult: float, has_kernel: bool) -> Iterator[str]:
    if not isfinite(health.offset_max):
        yield (
            "some offsets are infinite or not numbers: training has diverged. A lower optim.lr or optim.offset_lr_mult (now "
            f"{offset_lr_mult:g}) may keep them finite."
        )
    if health.still >= NEVER_LEFT_ZERO:
        yield (
            f"the offsets never left 0: {health.still:.1%} of the sampling points move by less than {HARDLY_MOVES} px, so it "
            f"{'is still a plain convolution' if has_kernel else 'still samples the plain grid'}. A higher optim.offset_lr_mult (now {offset_lr_mult:g}) or longer training may move "
            "them."
        )
        return
    if health.lost_points:
        yield (
            f"{health.lost_points} of {health.num_points} sampling points are gone from the image: offsets take them off the "
            f"feature map at more than {LOST:.0%} of the output pixels, where they read zeros and learn nothing. A lower "
            f"optim.offset_lr_mult (now {offset_lr_mult:g}) keeps them in."
        )
    if health.group_similarity is not None and health.group_similarity > GROUPS_ALIKE:
        yield (
            f"the offset groups all do the same (similarity {health.group_similarity:.2f}): a lower "
            f"{'conv.offset_groups' if has_kernel else 'conv.groups'} would give the same for less."
        )


def _mask_problems(mask: MaskHealth | None) -> Iterator[str]:
    if mask is None:
        return
    low, middle, high = (mask.quantiles[share] for share in (0.05, 0.5, 0.95))
    if high < MASK_IS_ZERO:
        yield (
            f"the masks are all about 0 (95 % below {MASK_IS_ZERO}): next to nothing gets through the layer. A lower "
            "optim.lr may keep it open."
        )
    elif high - low < MASK_IS_CONSTANT:
        yield (
            f"the masks are all about {middle:.2f} (nine in ten from {low:.2f} to {high:.2f}): modulation does nothing here. "
            "conv=deformable would give the same for less."
        )
    elif mask.widest_point < MASK_IS_CONSTANT:
        yield (
            f"each sampling point's mask is about the same everywhere (nine in ten within {mask.widest_point:.2f}): it does "
            "what a weight can do. conv=deformable would give the same for less."
        )
