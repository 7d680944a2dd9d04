"""Configs of networks of segmentation_models.pytorch, on an encoder of half a million weights."""

import segmentation_models_pytorch
import torch

from dcnrun.config.compose import compose

TINY = "tu-test_resnet"


def config(*overrides, encoder=TINY):
    return compose(["model=smp", f"model.encoder={encoder}", "data=shapes", *overrides])


def library(arch, encoder, **settings):
    return segmentation_models_pytorch.create_model(arch, encoder, encoder_weights=None, classes=4, **settings)


def images(*size, seed=0):
    return torch.randn(2, *size, generator=torch.Generator().manual_seed(seed))
