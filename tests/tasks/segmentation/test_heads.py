"""Every head on every backbone."""

import pytest
import torch

from dcnrun.config.schema import Backbone, ConvConfig, ConvKind
from dcnrun.tasks.build import build_model
from dcnrun.tasks.registry import ARCHITECTURES
from dcnrun.tasks.segmentation.scores import SEGMENTATION
from tests.tasks.factories import config

HEADS = [head for head, entry in ARCHITECTURES.items() if entry.task is SEGMENTATION]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", list(ConvKind))
def test_every_combination_builds_and_scores_every_pixel(head, kind):
    """The backbone in turn, so that each meets every head and every kind."""
    turn = HEADS.index(head) + list(ConvKind).index(kind)
    backbone = (Backbone.resnet18, Backbone.resnet50)[turn % 2]
    conv = ConvConfig(kind=kind, layers="3", dilation=4 if kind is ConvKind.dilated else None)
    built = build_model(config(conv, head=head, backbone=backbone), num_classes=5)
    scores = built.network.eval()(torch.randn(2, 3, 65, 48))
    assert scores.shape == (2, 5, 65, 48)
    assert scores.isfinite().all()
