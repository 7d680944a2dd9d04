"""segmentation_models.pytorch, and timm that comes with it: the names of its networks and encoders, and their published weights.

Both are imported where they are first needed: they are an extra, `dcnrun[smp]`.
"""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from torch import Tensor, nn

from dcnrun.config.messages import did_you_mean
from dcnrun.config.schema import SmpConfig
from dcnrun.console import printable
from dcnrun.errors import UsageError

TIMM = "tu-"
"""What the library has before the names of timm's encoders."""
DEFAULT = "DEFAULT"
STAGE_STRIDES = {"c2": 4, "c3": 8, "c4": 16, "c5": 32}
"""The input pixels per pixel of the last four feature maps of an encoder, the stages."""
_EXTRA = "pip install 'dcnrun[smp]'"


@cache
def smp() -> Any:
    """Import segmentation_models.pytorch; UsageError where it isn't installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import segmentation_models_pytorch
            import timm  # noqa: F401  which is more often the one that is missing
    except ImportError as error:
        raise UsageError(
            f"model=smp and model.encoder need segmentation_models.pytorch and timm ({error}): {_EXTRA}"
        ) from error
    return segmentation_models_pytorch


def name_problems(model: SmpConfig) -> Iterator[str]:
    """Yield what is wrong with the names of the architecture and the encoder, each a line with the nearest right ones."""
    try:
        architectures = list(smp().MODEL_ARCHITECTURES_MAPPING)
    except UsageError as error:
        yield str(error)
        return
    if model.arch not in architectures:
        near = did_you_mean(model.arch, architectures) or f": it has {', '.join(architectures)}"
        yield f"model.arch={model.arch} is no architecture of segmentation_models.pytorch{near}"
    yield from encoder_name_problems(model.encoder)


def encoder_name_problems(encoder: str) -> Iterator[str]:
    """Yield what is wrong with the name of an encoder, in a line with the nearest right ones."""
    try:
        known = is_encoder(encoder)
    except UsageError as error:
        yield str(error)
        return
    if not known:
        near = did_you_mean(encoder, [*smp().encoders.get_encoder_names(), *_timm_names()])
        yield f"model.encoder={encoder} is no encoder of segmentation_models.pytorch, nor {TIMM}NAME one of timm{near}"


def is_encoder(name: str) -> bool:
    """Return whether there is an encoder of this name; with a timm encoder's may be the tag of its weights (`tu-resnet18.a1_in1k`)."""
    if name in smp().encoders.get_encoder_names():
        return True
    import timm

    return name.startswith(TIMM) and timm.is_model(name.removeprefix(TIMM))


def build_network(model: SmpConfig, bands: int, num_classes: int) -> nn.Module:
    """Build the library's network from random weights, for images of so many bands.

    ValueError, in the library's words, where the architecture and the encoder don't go together.
    """
    make = smp().MODEL_ARCHITECTURES_MAPPING[model.arch]
    settings = {"encoder_weights": None, "in_channels": bands, "classes": num_classes}
    return _built(make, model.encoder, settings)


def note_on_dilation(model: SmpConfig) -> str | None:
    """Say that an architecture has its encoder compute something else than the encoder's weights learnt; None where it has not.

    For denser features the library dilates all convolutions of the last stages in place of their strides: also the one that strode,
    which had read neighbouring pixels. torchvision and timm leave that one as it is, so that every n-th feature is that of the
    strided encoder.
    """
    make = smp().MODEL_ARCHITECTURES_MAPPING[model.arch]
    if model.encoder.startswith(TIMM) or "encoder_output_stride" not in inspect.signature(make).parameters:
        return None
    same = f"{TIMM}{model.encoder}"
    other = f"model.encoder={same} does not" if is_encoder(same) else f"encoders of timm ({TIMM}...) do not"
    return (
        f"with model.arch={model.arch} segmentation_models.pytorch also dilates the convolutions of {model.encoder} that strode, so that its last stages "
        f"compute something else than these weights learnt: {other}"
    )


def build_encoder(name: str, bands: int) -> nn.Module:
    """Build an encoder from random weights with all its strides; ValueError, in the library's words, where it has no stages."""
    return _built(smp().encoders.get_encoder, name, {"weights": None, "in_channels": bands})


def freeze_norm(network: nn.Module) -> None:
    """Keep batch normalisation, timm's with an activation among it, from learning, in place: its statistics and scales stay."""
    smp()
    from timm.layers import freeze_batch_norm_2d

    freeze_batch_norm_2d(network)


def _built(make: Callable[..., nn.Module], encoder: str, settings: Mapping[str, Any]) -> nn.Module:
    """Call what builds networks on encoders; those for images of one size are asked to take any."""
    tries: list[dict[str, Any]] = [{"dynamic_img_size": True}, {}] if _has_one_size(encoder) else [{}]
    for more in tries:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return make(encoder, **settings, **more)
        except Exception as error:  # each encoder refuses in a way of its own
            refused = error
    raise ValueError(first_line(refused)) from refused


def first_line(error: Exception) -> str:
    """Return what another library says of an error, in one line."""
    return printable(next(iter(str(error).strip().splitlines()), type(error).__name__))


def published_weights(encoder: str, weights: str) -> dict[str, Tensor]:
    """Return an encoder's published tensors, downloaded if need be: by the name of the weights, or DEFAULT for the usual ones.

    UsageError with the names that there are, or where they can't be downloaded.
    """
    offered = offered_weights(encoder)
    if weights == DEFAULT and offered:
        weights = offered[0]
    if weights not in offered:
        names = f"it has {', '.join(offered)}" if offered else "it has none"
        raise UsageError(
            f"model.weights={weights} is neither a file nor published for model.encoder={encoder}: {names}"
        )
    try:
        if encoder.startswith(TIMM):
            name = f"{_without_tag(encoder)}.{weights}"
            published: nn.Module = smp().encoders.get_encoder(name, weights=True)
        else:
            published = smp().encoders.get_encoder(encoder, weights=weights)
    except Exception as error:  # of the network, the hub or the file, each library with classes of its own
        raise UsageError(
            f"model.weights={weights} of model.encoder={encoder} can't be downloaded ({first_line(error)}). Fetch them elsewhere, save the "
            "encoder's state dict, and give the file."
        ) from error
    return dict(published.state_dict())


def offered_weights(encoder: str) -> list[str]:
    """Return the names of an encoder's published weights, the usual ones first."""
    import timm

    if encoder.startswith(TIMM):
        name, _, tag = encoder.removeprefix(TIMM).partition(".")
        tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{name}.*")]
        usual = tag or str(getattr(timm.models.get_pretrained_cfg(name), "tag", None) or "")
        return sorted(tags, key=lambda each: each != usual)
    settings: dict[str, Any] = smp().encoders.encoders[encoder]["pretrained_settings"]
    return sorted(settings, key=lambda name: name != "imagenet")


def _without_tag(encoder: str) -> str:
    return encoder.partition(".")[0]


def _timm_names() -> list[str]:
    import timm

    return [TIMM + name for name in timm.list_models()]


def _has_one_size(encoder: str) -> bool:
    """Return whether a timm encoder is made for images of one size, unless it is told otherwise."""
    import timm

    if not encoder.startswith(TIMM):
        return False
    published = timm.models.get_pretrained_cfg(encoder.removeprefix(TIMM))
    return bool(published and published.fixed_input_size)
