"""Where convolutions stand in a network, found without its weights."""

from itertools import pairwise

import pytest

from dcnrun.config.compose import compose
from dcnrun.config.schema import Where
from dcnrun.models.outline import convolutions_of
from tests.models.factories import TINY, config, images, library


@pytest.mark.parametrize("arch", ["unet", "deeplabv3"])
def test_stages_are_by_the_strides_that_the_encoder_has_of_its_own(arch):
    """Those of a ResNet-34 hold 6, 8, 12 and 6 3x3 convolutions, dilated in place of strided or not."""
    found = convolutions_of(config(f"model.arch={arch}", encoder="resnet34").model)
    for stage, folder, count in (("c2", 1, 6), ("c3", 2, 8), ("c4", 3, 12), ("c5", 4, 6)):
        names = [each.name for each in found if each.stage == stage]
        assert len(names) == count
        assert all(name.startswith(f"encoder.layer{folder}.") for name in names)


def test_convolutions_are_in_the_order_in_which_they_run():
    """U-Net++ registers its blocks in another."""
    model = config("model.arch=unetplusplus").model
    network, order = library("unetplusplus", TINY).eval(), []
    for name, module in network.named_modules():
        module.register_forward_hook(lambda *_, name=name: order.append(name))
    network(images(3, 64, 64))
    found = [order.index(each.name) for each in convolutions_of(model)]
    assert all(one < other for one, other in pairwise(found))
    assert not any(each.name.startswith("segmentation_head") for each in convolutions_of(model))


@pytest.mark.parametrize("encoder", [TINY, "tu-test_convnext", "tu-test_efficientnet"])
def test_a_detector_on_an_encoder_has_the_convolutions_that_a_unet_has_there(encoder):
    of_unet = [each for each in convolutions_of(config(encoder=encoder).model) if each.part is Where.encoder]
    found = convolutions_of(compose(["model=retinanet", f"model.encoder={encoder}"]).model)
    assert [(each.name, each.part, each.stage) for each in found] == [
        (each.name, each.part, each.stage) for each in of_unet
    ]
    assert {each.stage for each in found} >= {"c4", "c5"}
