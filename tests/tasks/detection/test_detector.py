"""Detectors: every head with every convolution and pooling trains and finds; freshly made they are the plain one."""

from dataclasses import replace
from itertools import cycle

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dcnrun.config.schema import CONV_TRAITS, ConvKind, RoiPool
from dcnrun.models.conv import DeformConv2d
from tests.tasks.detection.factories import (
    CLASSES,
    MODELS,
    SIZES,
    built,
    detections,
    faster_rcnn,
    image,
    losses,
    nothing,
    objects,
    retinanet,
)

WITH_REGIONS = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
POOLED = [(name, pool) for name in ("faster_rcnn", "dilated_c5") for pool in RoiPool]
VARIANTS = [MODELS[name](roi_pool=pool) for name, pool in POOLED] + [retinanet(), retinanet(fpn_norm=True)]
IDS = [f"{name}-{pool}" for name, pool in POOLED] + ["retinanet", "retinanet-normalised"]


def assert_found(found, sizes):
    assert len(found) == len(sizes)
    for detections_of_image, (height, width) in zip(found, sizes, strict=True):
        boxes, scores, labels = (detections_of_image[key] for key in ("boxes", "scores", "labels"))
        assert boxes.shape == (len(scores), 4)
        assert boxes.isfinite().all()
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor([width, height])).all()
        assert scores.shape == labels.shape
        assert torch.equal(scores, scores.sort(descending=True).values)
        assert set(labels.tolist()) <= set(range(CLASSES))


def every_two_together():
    """Each kind with each network, each way of pooling and each normalisation, and those with each other: no part sees them all."""
    for i, kind in enumerate(ConvKind):
        for j, pool in enumerate(RoiPool):
            name = ("faster_rcnn", "dilated_c5")[(i + j) % 2]
            yield pytest.param(MODELS[name](roi_pool=pool), kind, id=f"{name}-{pool}-{kind}")
        yield pytest.param(retinanet(fpn_norm=i % 2 == 0), kind, id=f"retinanet-{kind}")


@pytest.mark.parametrize(("model", "kind"), list(every_two_together()))
def test_every_combination_trains_and_finds(model, kind):
    network = built(replace(model, score_threshold=0.001), kind)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for _ in range(2):
        parts = losses(network, *objects())
        assert set(parts) == (WITH_REGIONS if hasattr(model, "roi_pool") else {"loss_classifier", "loss_box_reg"})
        assert all(part.isfinite() and part.ndim == 0 and part.dtype == torch.float32 for part in parts.values())
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
    found = detections(network)
    assert_found(found, SIZES)
    assert all(len(each["scores"]) for each in found)


@pytest.mark.parametrize("name", list(MODELS))
def test_loss_falls_on_what_it_has_seen(name):
    network = built(MODELS[name](anchor_sizes=[16, 24, 32, 48, 64]))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    course = []
    for _ in range(20):
        loss = sum(losses(network, *objects()).values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        course.append(loss.item())
    assert sum(course[-3:]) < 0.8 * sum(course[:3])


@pytest.mark.parametrize(
    ("model", "kind"), list(zip(VARIANTS, cycle([ConvKind.deformable, ConvKind.modulated]), strict=False)), ids=IDS
)
def test_a_fresh_deformable_detector_equals_the_plain_one(model, kind):
    plain_model = replace(model, roi_pool=RoiPool.align) if hasattr(model, "roi_pool") else model
    plain, deformable = built(plain_model, layers="0"), built(model, kind, layers="c3-c5")
    wanted = losses(plain, *objects())
    for name, value in losses(deformable, *objects()).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-3, atol=1e-5)
    for a, b in zip(detections(plain), detections(deformable), strict=True):
        assert len(a["scores"]) == len(b["scores"])
        torch.testing.assert_close(a["scores"], b["scores"], rtol=1e-3, atol=1e-5)


def test_all_kinds_start_with_the_same_shared_weights():
    models = [faster_rcnn(roi_pool=pool) for pool in RoiPool]
    states = [(kind, built(model, kind, seed=3).state_dict()) for model in models for kind in ConvKind]
    first = states[0][1]
    for kind, state in states[1:]:
        missing = first.keys() - state.keys()
        assert not missing or not CONV_TRAITS[kind].has_kernel
        assert all(name.startswith("backbone.layer4.") for name in missing)
        for name in first.keys() - missing:
            assert torch.equal(state[name], first[name]), name
    other = built(faster_rcnn(), seed=4).state_dict()
    for name in ("backbone.conv1.weight", "neck.layer_blocks.0.0.weight", "roi_heads.box_head.fc6.weight"):
        assert not torch.equal(other[name], first[name])


@pytest.mark.parametrize("name", list(MODELS))
def test_layers_keep_their_names(name):
    network = built(MODELS[name](), ConvKind.deformable, layers="2")
    replaced = {name for name, module in network.named_modules() if isinstance(module, DeformConv2d)}
    assert replaced == {"backbone.layer4.1.conv1", "backbone.layer4.1.conv2"}


@pytest.mark.parametrize("model", VARIANTS, ids=IDS)
@pytest.mark.parametrize("batch", [1, 2])
def test_images_without_objects(model, batch):
    """Their losses are finite, and every parameter has a gradient, which DDP waits for."""
    network = built(model, ConvKind.modulated)
    parts = losses(network, *nothing(batch), images=image(batch), sizes=SIZES[:batch])
    assert all(part.isfinite() for part in parts.values())
    assert parts["loss_box_reg"] == 0
    sum(parts.values()).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("model", VARIANTS, ids=IDS)
def test_one_image_of_two_without_objects(model):
    boxes, labels = objects()
    network = built(model)
    parts = losses(network, [boxes[0], boxes[0][:0]], [labels[0], labels[0][:0]])
    sum(parts.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("model", VARIANTS[:6], ids=IDS[:6])
def test_images_without_proposals(model):
    network = built(model)
    network.rpn.score_thresh = 2.0  # no proposal is that sure
    parts = losses(network, *nothing())
    assert all(part.isfinite() for part in parts.values())
    sum(parts.values()).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []
    assert_found(detections(network), SIZES)


@pytest.mark.parametrize("name", list(MODELS))
def test_images_of_any_size(name):
    """Also where maps are rounded up, and smaller than the coarsest stride; without sizes nothing is padding."""
    network = built(MODELS[name](score_threshold=0.001))
    for height, width in ((33, 70), (64, 32), (130, 97)):
        images = image(2, height, width)
        parts = losses(network, *objects(), images=images, sizes=None)
        assert all(part.isfinite() for part in parts.values())
        assert_found(detections(network, images, None), [(height, width)] * 2)


@pytest.mark.parametrize("name", list(MODELS))
def test_settings_of_what_is_kept(name):
    network = built(MODELS[name](score_threshold=0.0, detections_per_image=7))
    losses(network, *objects())
    assert all(len(each["scores"]) == 7 for each in detections(network))
    strict = built(MODELS[name](score_threshold=1.0))
    assert all(len(each["scores"]) == 0 for each in detections(strict))


@pytest.mark.parametrize("name", ["faster_rcnn", "dilated_c5"])
def test_settings_of_what_is_learnt_from(name):
    network = built(MODELS[name](rpn_batch=10, roi_batch=6, proposals=9))
    seen = {}
    network.rpn.fg_bg_sampler, sampler = (
        (lambda labels: seen.setdefault("rpn", sampler(labels))),
        network.rpn.fg_bg_sampler,
    )
    network.roi_heads.box_head.register_forward_pre_hook(lambda module, inputs: seen.update(head=len(inputs[0])))
    network.rpn.register_forward_hook(lambda *args: seen.update(proposals=[len(boxes) for boxes in args[2][0]]))
    losses(network, *objects())
    positive, negative = seen["rpn"]
    assert [int(p.sum() + n.sum()) for p, n in zip(positive, negative, strict=True)] == [10, 10]
    assert seen["head"] <= 12
    assert max(seen["proposals"]) == 9


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_boxes_stay_precise_under_autocast(name, dtype):
    """Large coordinates and small anchors: bf16 counts in eights at 1200 pixels."""
    network = built(MODELS[name](score_threshold=0.0))
    images = image(1, 32, 1216)
    regions = []
    if hasattr(network, "rpn"):
        network.rpn.register_forward_hook(lambda module, inputs, output: regions.extend(output[0]))
    boxes, labels = [torch.tensor([[1201.0, 5.0, 1210.0, 13.0]])], [torch.tensor([1])]
    with torch.autocast("cpu", dtype):
        mixed = losses(network, boxes, labels, images, None)
        found = detections(network, images, None)
    wanted = losses(network, boxes, labels, images, None)
    for part, value in mixed.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, wanted[part], rtol=0.05, atol=0.02)
    for edges in [found[0]["boxes"], *regions]:
        assert edges.dtype == torch.float32
        assert not torch.equal(edges, edges.bfloat16().float())


@pytest.mark.parametrize("name", list(MODELS))
def test_labels_go_in_and_come_out_from_zero(name):
    """A predictor that is sure of a class says that class."""
    for label in range(CLASSES):
        network = built(MODELS[name](score_threshold=0.5))
        with torch.no_grad():
            if name == "retinanet":
                network.head.classification_head.cls_logits.bias.view(-1, CLASSES)[:, label] = 20.0
            else:
                network.roi_heads.box_predictor.cls_score.bias[label + 1] = 20.0
        for found in detections(network):
            assert len(found["labels"])
            assert set(found["labels"].tolist()) == {label}
    network = built(MODELS[name]())
    one = [torch.full_like(labels, CLASSES - 1) for labels in objects()[1]]
    sum(losses(network, objects()[0], one).values()).backward()
    if name == "retinanet":
        grad = network.head.classification_head.cls_logits.bias.grad.view(-1, CLASSES).sum(0)
    else:
        grad = network.roi_heads.box_predictor.cls_score.bias.grad[1:]
    assert grad.argmin() == CLASSES - 1


@pytest.mark.parametrize("model", VARIANTS, ids=IDS)
def test_cost_counted_without_computing_is_that_of_computing(model):
    network = built(model, ConvKind.deformable).eval()

    def cost(device):
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            network.to(device).dense_forward(torch.zeros(1, 3, 64, 96, device=device))
        return counter.get_total_flops()

    assert cost("cpu") == cost("meta") > 0


def test_cost_of_regions_is_that_of_the_head():
    """Twice the regions cost one pooling, one head's two hidden layers and two answers per further region."""

    def cost(proposals):
        counter = FlopCounterMode(display=False)
        network = built(faster_rcnn(proposals=proposals)).eval()
        with torch.no_grad(), counter:
            network.to("meta").dense_forward(torch.zeros(1, 3, 64, 96, device="meta"))
        return counter.get_total_flops()

    pooling = 8 * 4 * 16 * 3 * 3  # four bilinear samples of each channel in each bin
    per_region = pooling + 2 * (16 * 3 * 3 * 32 + 32 * 32 + 32 * (CLASSES + 1) * 5)
    assert cost(40) - cost(20) == 20 * per_region


def test_training_needs_boxes():
    with pytest.raises(ValueError, match="needs the boxes and labels"):
        built(retinanet()).train()(image())
