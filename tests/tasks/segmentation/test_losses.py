"""Losses of segmentation against other implementations, their definitions and the properties that they have."""

import re

import pytest
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.losses import DiceLoss, LovaszLoss
from torchvision.ops import sigmoid_focal_loss

from dcnrun.compare.grid import build_grid
from dcnrun.config.compose import compose
from dcnrun.config.schema import Loss, SmpConfig, loss_terms
from dcnrun.data import IGNORE
from dcnrun.errors import ConfigError, UsageError
from dcnrun.tasks.segmentation.losses import balanced_weights, pixel_losses, pixel_weight
from dcnrun.tasks.segmentation.task import Segmentation
from dcnrun.tasks.validate import check, check_images_of
from dcnrun.training.prepare import prepare
from tests.data.factories import folder_tree

CLASSES = 4
WEIGHTS = [0.5, 2.0, 0.0, 1.25]
EVERY = ["cross_entropy", "focal", "dice", "lovasz", "cross_entropy+0.5*dice"]
"""Of these batches, class 2 is absent and some pixels are ignored."""


def batch(seed=0, size=(2, 7, 9)):
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(size[0], CLASSES, *size[1:], generator=generator)
    mask = torch.tensor([0, 1, 3, IGNORE])[torch.randint(0, 4, size, generator=generator)]
    return scores.requires_grad_(), mask


def value(loss, scores, mask, processes=1, **settings):
    found = pixel_losses(scores, mask, SmpConfig(loss=loss, **settings), processes)
    return torch.stack([*found.values()]).sum()


def test_the_default_is_the_mean_cross_entropy_of_labelled_pixels_to_the_bit():
    scores, mask = batch()
    (name,) = found = pixel_losses(scores, mask, SmpConfig())
    sums = F.cross_entropy(scores, mask, ignore_index=IGNORE, reduction="sum")
    assert name == "loss"
    assert torch.equal(found[name], sums / (mask != IGNORE).sum())


def test_weighted_cross_entropy_is_pytorchs():
    scores, mask = batch()
    wanted = F.cross_entropy(scores, mask, weight=torch.tensor(WEIGHTS), ignore_index=IGNORE)
    torch.testing.assert_close(value("cross_entropy", scores, mask, class_weights=WEIGHTS), wanted)


@pytest.mark.parametrize("gamma", [0.5, 1, 2, 5])
@pytest.mark.parametrize("alpha", [0.25, 0.9])
def test_focal_of_two_classes_is_torchvisions_of_their_difference(gamma, alpha):
    scores, mask = batch()
    scores, mask = scores[:, :2], torch.where(mask == 3, 1, mask)
    labelled = mask != IGNORE
    difference, truth = (scores[:, 1] - scores[:, 0])[labelled], mask[labelled].float()
    total = sigmoid_focal_loss(difference, truth, alpha=alpha, gamma=gamma, reduction="sum")
    weights = [1 - alpha, alpha]
    found = value("focal", scores, mask, focal_gamma=gamma, class_weights=weights)
    torch.testing.assert_close(found, total / torch.tensor(weights)[mask[labelled]].sum())


def test_focal_without_an_exponent_is_cross_entropy():
    scores, mask = batch()
    for weights in (None, WEIGHTS):
        found, wanted = (
            value(loss, scores, mask, class_weights=weights, focal_gamma=0.0) for loss in ("focal", "cross_entropy")
        )
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("seed", range(3))
def test_dice_and_lovasz_are_the_librarys_over_classes_that_are_there(seed):
    scores, mask = batch(seed)
    present = len(mask[mask != IGNORE].unique())
    dice = DiceLoss("multiclass", ignore_index=IGNORE)(scores, mask) * CLASSES / present  # it counts absent ones as 0
    torch.testing.assert_close(value("dice", scores, mask), dice)
    lovasz = LovaszLoss("multiclass", ignore_index=IGNORE)(scores, mask)
    torch.testing.assert_close(value("lovasz", scores, mask), lovasz)
    ours, theirs = (torch.autograd.grad(loss, scores)[0] for loss in (value("lovasz", scores, mask), lovasz))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_lovasz_is_the_extension_of_what_wrong_pixels_cost():
    """Each error times what its pixel adds to |M| / |truth or M|, M the set of pixels with an error as large or larger."""
    scores, mask = batch(size=(1, 4, 5))
    labelled = mask != IGNORE
    found, truth = scores.softmax(1).movedim(1, -1)[labelled].tolist(), mask[labelled].tolist()
    of_classes = []
    for label in set(truth):
        those = {pixel for pixel, its in enumerate(truth) if its == label}
        errors = [abs((pixel in those) - each[label]) for pixel, each in enumerate(found)]
        wrong, cost, loss = set(), 0.0, 0.0
        for pixel in sorted(range(len(truth)), key=lambda pixel: -errors[pixel]):
            wrong.add(pixel)
            loss += errors[pixel] * (len(wrong) / len(those | wrong) - cost)
            cost = len(wrong) / len(those | wrong)
        of_classes.append(loss)
    assert value("lovasz", scores, mask).item() == pytest.approx(sum(of_classes) / len(of_classes), rel=1e-5)


def test_of_certain_answers_dice_and_lovasz_are_the_overlaps_themselves():
    scores, mask = batch()
    answer = scores.argmax(1)
    certain = 1e4 * F.one_hot(answer, CLASSES).movedim(-1, 1).float()
    iou, dice = [], []
    for label in mask[mask != IGNORE].unique():
        own, its = (answer == label) & (mask != IGNORE), mask == label
        iou.append((own & its).sum() / (own | its).sum())
        dice.append(2 * (own & its).sum() / (own.sum() + its.sum()))
    torch.testing.assert_close(value("lovasz", certain, mask), 1 - torch.stack(iou).mean())
    torch.testing.assert_close(value("dice", certain, mask), 1 - torch.stack(dice).mean())


@pytest.mark.parametrize("loss", EVERY)
@pytest.mark.parametrize("settings", [{}, {"class_weights": WEIGHTS, "focal_gamma": 0.5}])
def test_ignored_pixels_count_nowhere(loss, settings):
    scores, mask = batch()
    ignored = mask == IGNORE
    found = value(loss, scores, mask, **settings)
    gradient = torch.autograd.grad(found, scores)[0]
    assert found > 0
    assert gradient.any()
    assert not gradient[ignored[:, None].expand_as(gradient)].any()
    others = torch.where(ignored[:, None], -scores, scores)
    assert torch.equal(value(loss, others, mask, **settings), found)

    nothing = value(loss, scores, torch.full_like(mask, IGNORE), **settings)
    assert nothing.item() == 0
    assert not torch.autograd.grad(nothing, scores)[0].any()


@pytest.mark.parametrize("loss", EVERY)
@pytest.mark.parametrize("gamma", [0.5, 2])
def test_certain_scores_have_finite_losses_and_gradients(loss, gamma):
    scores, mask = batch()
    certain = (1e4 * scores.detach()).requires_grad_()
    found = value(loss, certain, mask, focal_gamma=gamma)
    assert found.isfinite()
    assert torch.autograd.grad(found, certain)[0].isfinite().all()


@pytest.mark.parametrize("loss", EVERY)
def test_scores_of_half_precision_are_computed_with_in_single(loss):
    scores, mask = batch()
    half = scores.detach().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = value(loss, half, mask)
    assert found.dtype is torch.float32
    assert torch.equal(found, value(loss, half.float(), mask))


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_over_processes_and_batches_pixels_count_as_in_one_batch(monkeypatch, loss, weights):
    scores, mask = batch(size=(3, 5, 5))
    mask[0, :4] = IGNORE
    whole = value(loss, scores, mask, class_weights=weights)
    model = SmpConfig(class_weights=weights)
    parts = [(scores[:1], mask[:1]), (scores[1:], mask[1:])]
    total = sum(pixel_weight(its, model) for _, its in parts)
    shares = [pixel_weight(its, model) / total for _, its in parts]
    alone = [value(loss, *part, class_weights=weights) for part in parts]
    torch.testing.assert_close(sum(share * own for share, own in zip(shares, alone, strict=True)), whole)

    monkeypatch.setattr(torch.distributed, "all_reduce", lambda weight: weight.fill_(total))
    of_processes = [value(loss, *part, processes=2, class_weights=weights) for part in parts]
    torch.testing.assert_close(sum(of_processes) / 2, whole)


def test_a_sum_has_its_terms_by_name_times_their_factors():
    scores, mask = batch()
    found = pixel_losses(scores, mask, SmpConfig(loss="cross_entropy + 0.5 * dice+2*lovasz"))
    factors = {"loss_cross_entropy": 1, "loss_dice": 0.5, "loss_lovasz": 2}
    assert found.keys() == factors.keys()
    for name, factor in factors.items():
        torch.testing.assert_close(found[name], factor * value(name.removeprefix("loss_"), scores, mask))


@pytest.mark.parametrize(
    ("loss", "wrong"),
    [
        ("dise", "dise"),
        ("", ""),
        ("cross_entropy+-0.5*dice", "-0.5*dice"),
        ("0*dice", "0*dice"),
        ("nan*dice", "nan*dice"),
        ("inf*dice", "inf*dice"),
        ("dice+focal+dice", "dice"),
        ("dice+", ""),
        ("dice*2", "dice*2"),
        ("cross_entropy - 0.5*dice", "cross_entropy - 0.5*dice"),
    ],
)
def test_wrong_sums_name_the_term(loss, wrong):
    with pytest.raises(ValueError, match=f"^{re.escape(wrong)}$"):
        loss_terms(loss)
    (problem,) = Segmentation().problems(compose([f"model.loss='{loss}'"]))
    assert problem.startswith(f"model.loss={loss} must be cross_entropy, dice, focal or lovasz, or a sum of these")
    assert problem.endswith(f"but has {wrong!r}")


@pytest.mark.parametrize("model", ["deeplab", "deeplabv3", "fcn", "smp"])
def test_every_network_for_segmentation_has_the_losses(model):
    config = compose([f"model={model}", "model.loss=cross_entropy+0.5*dice"])
    for loss in [config.model.loss, *Loss, "0.3*focal + lovasz"]:
        config.model.loss = loss
        assert list(Segmentation().problems(config)) == []


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["model.class_weights=[1,-1]"], "model.class_weights=[1.0,-1.0] must be at least 0, or auto"),
        (["model.class_weights=[0,0]"], "model.class_weights=[0.0,0.0] must be above 0 for some class"),
        (["model.loss=dice", "model.class_weights=auto"], "model.class_weights=[] does nothing with model.loss=dice"),
        (["model.focal_gamma=3"], "model.focal_gamma=3.0 does nothing with model.loss=cross_entropy: leave it out"),
        (["model=retinanet", "model.loss=dice"], "model.loss=dice: "),
    ],
)
def test_wrong_and_idle_settings(overrides, problem):
    with pytest.raises(ConfigError) as error:
        check(compose(["conv=standard", *overrides]))
    assert error.value.problems[0].startswith(problem)


class Masks:
    """Masks of three classes, of which the second has three times the pixels of the first, and the third none."""

    classes = ("a", "b", "c")

    def __len__(self):
        return 2

    def mask(self, index):
        return torch.tensor([[0, 1, 1], [1, IGNORE, IGNORE]], dtype=torch.uint8)


def test_weights_are_inverse_to_frequencies_and_1_on_average():
    assert balanced_weights(Masks()) == [2, pytest.approx(2 / 3, rel=1e-5), 2]


def test_weights_are_measured_once_and_kept_in_the_config(tmp_path):
    root = folder_tree(tmp_path)
    own = ["data=folder", f"data.root={root}", "data.classes=[sky,road]", "data.workers=0", "conv=standard"]
    tiny = [*own, "model.width=16", "model.head_channels=8", "trainer.threads=1"]
    training, _ = prepare(compose([*tiny, "model.class_weights=auto"]))
    weights = training.config.model.class_weights
    pixels = torch.cat([training.train_set[i]["mask"].flatten() for i in range(len(training.train_set))])
    counts = [(pixels == label).sum().item() for label in (0, 1)]
    assert weights == pytest.approx([sum(counts) / 2 / count for count in counts], rel=1e-5)
    assert weights[0] != weights[1]
    assert any("model.class_weights=[" in note for note in training.train_set.notes)
    swapped, _ = prepare(compose([*tiny, "model.class_weights=auto"]), classes=("road", "sky"))
    assert swapped.config.model.class_weights == weights[::-1]

    grid = build_grid([*own, "model.class_weights=null,auto", "model.loss=cross_entropy,dice"])
    assert [variant.config.model.class_weights for variant in grid.variants] == [None, None, weights]
    for wrong in (lambda config: prepare(config), check_images_of):
        with pytest.raises(UsageError, match=r"model.class_weights=\[1.0,2.0,3.0\] must be 2 numbers, one per class"):
            wrong(compose([*tiny, "model.class_weights=[1,2,3]"]))
