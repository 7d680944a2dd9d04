"""Which settings do nothing, against what networks and optimizers are made of."""

import pytest
import torch

from dcnrun.config.compose import compose
from dcnrun.config.inactive import has_offset_branches, has_roi_offset_branch, inactive_settings, settings_of
from dcnrun.errors import ConfigError
from dcnrun.models.roi_pool import RoIOffsetBranch
from dcnrun.models.sampling import SamplingConv
from dcnrun.tasks.build import build_model
from dcnrun.tasks.validate import check

NARROW = ["model.width=16", "model.weights=null"]
DETECTOR = ["model=faster_rcnn", "data=treecrowns"]


def settings(*overrides):
    return settings_of(compose(list(overrides)))


@pytest.mark.parametrize("conv", ["standard", "dilated", "deformable", "modulated", "dcnv4"])
@pytest.mark.parametrize("layers", ["0", "1"])
@pytest.mark.parametrize("roi_pool", ["align", "modulated"])
def test_branches_are_those_of_the_network(conv, layers, roi_pool):
    config = compose([*NARROW, *DETECTOR, f"conv={conv}", f"conv.layers={layers}", f"model.roi_pool={roi_pool}"])
    with torch.device("meta"):
        modules = list(build_model(config, 2).network.modules())
    assert has_offset_branches(settings_of(config)) == any(isinstance(m, SamplingConv) for m in modules)
    assert has_roi_offset_branch(settings_of(config)) == any(isinstance(m, RoIOffsetBranch) for m in modules)


@pytest.mark.parametrize(
    ("overrides", "idle", "counts"),
    [
        (["conv=standard"], "optim.offset_lr_mult", "optim.lr"),
        (["conv=standard"], "conv.layers", "conv.dilation"),
        (["conv=standard", "conv.groups=2"], "conv.offset_groups", "conv.layers"),
        (["conv=dilated"], "conv.mask_start", "conv.layers"),
        (["conv=deformable"], "conv.mask_start", "optim.offset_lr_mult"),
        (["conv=deformable", "conv.layers=0"], "optim.offset_bias_lr_mult", "optim.lr"),
        (["conv=modulated"], "model.head_dilation", "conv.mask_start"),
        (["model.head_kernel=3"], "optim.step_at", "model.head_dilation"),
        (["model=fcn"], "model.head_kernel", "model.head_channels"),
        (["model=deeplabv3plus"], "model.head_design", "model.fine_channels"),
        (["optim=adamw"], "optim.momentum", "optim.weight_decay"),
        (["optim.schedule=cosine"], "optim.poly_power", "optim.lr"),
        (["optim=sgd", "optim.schedule=step"], "optim.poly_power", "optim.momentum"),
        (DETECTOR, "model.roi_gamma", "model.roi_size"),
        (["data=nuclei"], "data.split_seed", "data.val"),
        (["data=nuclei", "data.val_share=0.2"], "data.val", "data.split_seed"),
        ([*DETECTOR, "model.roi_pool=deformable"], "conv.offset_groups", "model.roi_gamma"),
        (["model=mask_rcnn", "model.mask_roi_pool=deformable"], "conv.offset_groups", "model.roi_gamma"),
        (["model=retinanet", "model.encoder=resnet18"], "model.backbone", "model.frozen_norm"),
        (["model=retinanet", "model.encoder=resnet18"], "model.style", "conv.depthwise"),
        (["model=retinanet", "model.encoder=resnet18"], "conv.where", "conv.depthwise"),
        (["model=retinanet"], "conv.depthwise", "model.backbone"),
        (["model=retinanet", "model.encoder=resnet18", "conv.layers=encoder"], "conv.depthwise", "model.frozen_norm"),
    ],
)
def test_what_does_nothing(overrides, idle, counts):
    found = inactive_settings(settings("conv=standard", *overrides))
    assert idle in found
    assert counts not in found


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["conv=standard", "optim.offset_lr_mult=0.1"], "optim.offset_lr_mult=0.1 does nothing with conv=standard: leave it out, or at null"),
        (["conv=deformable", "conv.mask_start=0.5"], "conv.mask_start=0.5 does nothing with conv=deformable: leave it out, or at 1.0"),
        (["conv=deformable", "conv.layers=0", "conv.offset_groups=2"], "conv.offset_groups=2 does nothing with conv.layers=0"),
        (["optim=adamw", "optim.momentum=0.5"], "optim.momentum=0.5 does nothing with optim.optimizer=adamw: leave it out, or at 0.9"),
        ([*DETECTOR, "model.roi_gamma=0.2"], "model.roi_gamma=0.2 does nothing with model.roi_pool=align: leave"),
        (["model=mask_rcnn", "model.roi_gamma=0.2"], "model.roi_gamma=0.2 does nothing with model.roi_pool=align and model.mask_roi_pool=align"),
        (["optim.schedule=cosine", "optim.step_gamma=0.2"], "optim.step_gamma=0.2 does nothing with optim.schedule=cosine"),
    ],
)  # fmt: skip
def test_what_is_set_and_does_nothing_is_refused(overrides, problem):
    with pytest.raises(ConfigError) as error:
        check(compose(overrides))
    assert any(found.startswith(problem) for found in error.value.problems), error.value.problems


def test_layers_may_be_chosen_for_a_plain_convolution_too():
    check(compose(["conv=standard", "conv.layers=6"]))


def test_a_data_set_may_name_images_to_validate_on_beside_a_share():
    check(compose([*DETECTOR, "conv=standard", "data.val_share=0.2", "data.val=[VOC2007/other]"]))
