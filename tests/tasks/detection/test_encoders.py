"""Detectors on encoders of other libraries: how they start, what files they take, and what learns of them."""

import pytest
import timm
import torch
from torch import nn

from dcnrun.config.compose import compose
from dcnrun.models.sampling import sampling_layers
from dcnrun.tasks.build import build_model
from tests.models.factories import TINY, library
from tests.tasks.detection.factories import CLASSES, SMALL, SMALL_REGIONS, detections, losses, nothing, objects

SIZES = {key: str(value).replace(" ", "") for key, value in (SMALL | SMALL_REGIONS).items() if key != "width"}
OF_REGIONS = set(SMALL_REGIONS)


def built(head, *overrides, encoder=TINY):
    some = [f"model.{key}={value}" for key, value in SIZES.items() if head != "retinanet" or key not in OF_REGIONS]
    return build_model(
        compose(["data=shapes", f"model={head}", f"model.encoder={encoder}", *some, *overrides]), CLASSES
    )


@pytest.mark.parametrize(
    ("head", "encoder", "conv"),
    [
        ("faster_rcnn", TINY, ["conv=modulated", "conv.layers=3"]),
        ("retinanet", "tu-test_convnext", ["conv=deformable", "conv.depthwise=true", "conv.layers=c4-c5"]),
        ("faster_rcnn", "tu-test_efficientnet", ["conv=modulated", "conv.layers=encoder.model.blocks.3"]),
    ],
)
def test_a_fresh_deformable_detector_equals_the_standard_one(head, encoder, conv):
    plain = built(head, "conv=standard", *conv[1:], encoder=encoder)
    deformable = built(head, *conv, encoder=encoder)
    assert [layer.name for layer in plain.replaced] == [layer.name for layer in deformable.replaced]
    assert len(sampling_layers(deformable.network)) == len(deformable.replaced) > 0
    wanted, found = (losses(model.network, *objects()) for model in (plain, deformable))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_replaced_layers_and_learnt_pooling_learn_and_answer():
    network = built("faster_rcnn", "conv=modulated", "model.roi_pool=modulated", "model.score_threshold=0").network
    layers = sampling_layers(network)
    assert any("roi" in name for name in layers)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for _ in range(2):  # offsets of pooling have a gradient where those of convolutions moved nothing yet
        sum(losses(network, *objects()).values()).backward()
        optimizer.step()
    for layer in layers.values():
        assert all(weight.grad.isfinite().all() and weight.grad.any() for weight in layer.offset_branch.parameters())
    assert all(len(found["boxes"]) for found in detections(network))
    assert all(loss.isfinite() for loss in losses(network, *nothing()).values())


def test_files_of_encoders_and_of_detectors_are_read_and_what_they_lack_is_said(tmp_path):
    torch.manual_seed(1)
    of_timm, of_unet = timm.create_model("test_resnet"), library("unet", TINY)
    of_run = built("faster_rcnn", "conv=modulated", "seed=5").network
    for name, network in (("timm", of_timm), ("unet", of_unet), ("run", of_run)):
        torch.save(network.state_dict(), tmp_path / f"{name}.pt")

    def loaded(name, *conv):
        model = built("faster_rcnn", *conv, f"model.weights={tmp_path / f'{name}.pt'}")
        return model.network, model.loaded

    network, said = loaded("run", "conv=modulated")
    assert _same(network, of_run)
    assert "before training" not in said
    network, said = loaded("unet", "conv=standard")
    assert _same(network.backbone.encoder, of_unet.encoder)
    assert "not used: decoder." in said
    assert said.endswith("not in it, and as before training: all of neck, rpn, roi_heads.")
    network, said = loaded("timm", "conv=standard")
    first = network.backbone.encoder.model.conv1[0]
    assert torch.equal(first.weight, of_timm.conv1[0].weight)
    assert "not used: fc.bias, fc.weight" in said


def _same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )
