"""Names and published weights of other libraries' encoders, and what cannot be built of them."""

import sys

import pytest
import segmentation_models_pytorch
import timm
import torch
from timm.models import adapt_input_conv

from dcnrun.config.compose import compose
from dcnrun.errors import ConfigError
from dcnrun.models import encoders
from dcnrun.models.weights import read_weights
from dcnrun.tasks.validate import check, model_problems
from tests.models.factories import TINY, config, images


@pytest.mark.parametrize("bands", [1, 5])
def test_published_weights_are_found_by_name_and_adapted_to_other_bands(monkeypatch, bands):
    torch.manual_seed(1)
    published = segmentation_models_pytorch.encoders.get_encoder(TINY, weights=None)
    asked = []

    def get_encoder(name, weights=None, **_):
        asked.append((name, weights))
        return published

    cfg = config("model.weights=DEFAULT", f"data.bands={list(range(bands))}")
    monkeypatch.setattr(encoders.smp().encoders, "get_encoder", get_encoder)
    weights = read_weights(cfg.model)
    monkeypatch.undo()
    network = encoders.build_network(cfg.model, bands, 4)
    weights.load_into_backbone(network.encoder, TINY)
    ((name, wanted),) = asked
    assert name == f"{TINY}.{timm.models.get_pretrained_cfg('test_resnet').tag}"
    assert wanted
    state, own = published.state_dict(), network.encoder.state_dict()
    first = next(name for name, tensor in own.items() if tensor.dim() == 4)
    for key, tensor in own.items():
        torch.testing.assert_close(tensor, adapt_input_conv(bands, state[key]) if key == first else state[key])
    assert f"adapted to {bands} band" in weights.load_into_network(network, "encoder.")


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["model.arch=unett"], "model.arch=unett is no architecture of segmentation_models.pytorch; did you mean unet"),
        (["model.encoder=resnet35"], "model.encoder=resnet35 is no encoder of segmentation_models.pytorch, nor tu-NAME one of timm; did you mean resnet34"),
        (["model.encoder=tu-maxvit_tiny_rw_224"], "can't be built: it can't take images of any size"),
        (["model.arch=unetplusplus", "model.encoder=mit_b0"], "model.arch=unetplusplus with model.encoder=mit_b0 can't be built: UnetPlusPlus is not support"),
        (["conv.layers=99"], "conv.layers=99 is more than the encoder's"),
        (["conv.layers=decoder.blocks.9"], "the last ones of the network are: decoder.blocks."),
        (["model.arch=pan", "data.batch_size=1"], "data.batch_size=1 must be at least 2 with model.arch=pan"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_said_in_a_line(overrides, problem):
    (said,) = model_problems(config(*overrides))
    assert problem in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("encoder", "problem"),
    [
        ("tu-test_vit", "can't carry a feature pyramid: Unsupported model downsampling pattern. One with feature maps of strides 4, 8, 16 and 32"),
        ("restnet34", "is no encoder of segmentation_models.pytorch, nor tu-NAME one of timm; did you mean resnet34"),
        (f"{TINY} conv.layers=99", "conv.layers=99 is more than the encoder's 10 convolutions"),
        (f"{TINY} model.width=16", "model.width=16 does nothing with model.encoder=tu-test_resnet: leave it out, or at 64"),
        (f"{TINY} model.output_stride=8", "model.output_stride=8 does nothing with model.encoder=tu-test_resnet: leave it out, or at 32"),
        (f"{TINY} model.frozen_stages=2", "model.frozen_stages=2 does nothing with model.encoder=tu-test_resnet"),
        (f"{TINY} model.fpn=false", "model.encoder=tu-test_resnet does not fit model.fpn=false"),
    ],
)  # fmt: skip
def test_what_a_detector_cannot_stand_on_is_said_in_a_line(encoder, problem):
    with pytest.raises(ConfigError) as error:
        check(compose(["model=faster_rcnn", "data=shapes", "conv=modulated", *f"model.encoder={encoder}".split()]))
    (said,) = error.value.problems
    assert problem in said
    assert "\n" not in said


def test_without_the_library_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    encoders.smp.cache_clear()
    try:
        (said,) = model_problems(config())
    finally:
        monkeypatch.undo()
        encoders.smp.cache_clear()
    assert said.startswith("model=smp and model.encoder need segmentation_models.pytorch and timm")
    assert said.endswith("pip install 'dcnrun[smp]'")


@pytest.mark.parametrize(
    ("encoder", "other"), [("resnet18", "model.encoder=tu-resnet18 does not"), ("tu-resnet18", None)]
)
def test_a_dilated_encoder_computes_what_it_did_or_it_is_said_that_it_does_not(encoder, other):
    """Every second of its features is one of the strided encoder."""
    model = config("model.arch=deeplabv3plus", encoder=encoder).model
    strided = encoders.build_encoder(encoder, 3).eval()
    dilated = encoders.build_network(model, 3, 4).encoder.eval()
    dilated.load_state_dict(strided.state_dict())
    with torch.inference_mode():
        wanted, dense = (network(images(3, 64, 64))[-1] for network in (strided, dilated))
    apart = (dense[:, :, ::2, ::2] - wanted).abs().max() / wanted.abs().max()
    if other is None:
        assert apart < 1e-4
        assert encoders.note_on_dilation(model) is None
    else:
        assert apart > 0.01
        assert other in encoders.note_on_dilation(model)
    assert encoders.note_on_dilation(config("model.arch=pspnet", encoder=encoder).model) is None
