"""What an exported file says of itself: all that is needed to feed it and to read its output."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import dcnrun
from dcnrun.config.compose import to_yaml
from dcnrun.config.schema import DataConfig
from dcnrun.errors import DataError
from dcnrun.export.targets import Precision, Settings
from dcnrun.runs import CheckpointChoice
from dcnrun.training.trained_run import TrainedRun

UNKNOWN = "unknown"
"""What a file says of the licence of its weights where nobody has said it."""


@dataclass(frozen=True)
class Description:
    """What a file is. `as_metadata` writes it as texts by name, as every format can hold them; `of` reads these."""

    classes: tuple[str, ...]
    """What the output's channels stand for."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of each band, of values from 0 to 1 where images are of 8 bits."""
    bands: tuple[int, ...]
    """Of the image's own, counted from 0; () for RGB."""
    of_bytes: bool
    """Whether images are of 8 bits, which are divided by 255 before."""
    normalises: bool
    """Whether the network does so itself, from pixels as they are."""
    size: tuple[int, int] | None
    """Height and width that the network takes; None: any."""
    size_rule: str
    """In words, the size in which the network is to see an image."""
    licence: str
    """Of the weights."""
    checkpoint: str
    step: int
    config: str
    """The run's settings, YAML."""
    precision: Precision
    decomposed: bool = False
    """Whether deformable layers are written as operators that every reader knows."""

    @classmethod
    def of_run(
        cls,
        trained: TrainedRun,
        which: CheckpointChoice,
        classes: Sequence[str],
        image: Tensor,
        settings: Settings,
        licence: str,
    ) -> "Description":
        """Return what a file is that is made of a run's checkpoint; `image` is one of its data set's, as that gives it."""
        data = trained.config.data
        return cls(
            classes=tuple(classes),
            mean=tuple(data.mean),
            std=tuple(data.std),
            bands=tuple(data.bands),
            of_bytes=image.dtype == torch.uint8,
            normalises=settings.with_preprocessing,
            size=settings.size,
            size_rule=_size_rule(data, settings),
            licence=licence,
            checkpoint=str(which),
            step=trained.step,
            config=to_yaml(trained.config),
            precision=settings.precision or Precision.fp32,
            decomposed=bool(settings.decompose),
        )

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> "Description":
        """Read what `as_metadata` has written; DataError for what it hasn't."""
        try:
            return cls(
                classes=tuple(map(str, json.loads(metadata["classes"]))),
                mean=tuple(map(float, json.loads(metadata["mean"]))),
                std=tuple(map(float, json.loads(metadata["std"]))),
                bands=tuple(map(int, json.loads(metadata["bands"]))),
                of_bytes=bool(json.loads(metadata["8-bit images"])),
                normalises=bool(json.loads(metadata["normalises"])),
                size=_pair(json.loads(metadata["fixed size"])),
                size_rule=metadata["size"],
                licence=metadata["licence of the weights"],
                checkpoint=metadata["checkpoint"],
                step=int(metadata["step"]),
                config=metadata["config"],
                precision=Precision(metadata["precision"]),
                decomposed=bool(json.loads(metadata["decomposed"])),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"The file does not say what it is as `dcnrun export` of this version writes it ({error})."
            ) from error

    def as_metadata(self) -> dict[str, str]:
        """Return it as texts by name; lists are JSON."""
        return {
            "task": "semantic segmentation",
            "input": f"{self.input_type} (batch, {len(self.mean)}, height, width), {self.input_values}",
            "normalises": json.dumps(self.normalises),
            "8-bit images": json.dumps(self.of_bytes),
            "bands": json.dumps(self.bands),
            "mean": json.dumps(self.mean),
            "std": json.dumps(self.std),
            "size": self.size_rule,
            "fixed size": json.dumps(self.size),
            "output": "float32 (batch, classes, height, width), logits; the class of a pixel is the largest along axis 1",
            "classes": json.dumps(self.classes),
            "precision": str(self.precision),
            "decomposed": json.dumps(self.decomposed),
            "licence of the weights": self.licence,
            "config": self.config,
            "checkpoint": self.checkpoint,
            "step": str(self.step),
            "dcnrun": dcnrun.__version__,
        }

    @property
    def input_type(self) -> str:
        """The type of the input's numbers."""
        return "uint8" if self.normalises and self.of_bytes else "float32"

    @property
    def input_values(self) -> str:
        """What the bands of an input are, and how they are normalised."""
        bands = f"bands {list(self.bands)} of the image's, counted from 0" if self.bands else "RGB"
        if self.normalises:
            return f"{bands}, {'pixels from 0 to 255' if self.of_bytes else _SCALED} as they are. The network normalises them."
        values = "(value / 255 - mean) / std" if self.of_bytes else f"(value - mean) / std of {_SCALED}"
        return f"{bands}; each is {values}. The network does not normalise: do it first."

    def pixels(self, normalised: Tensor) -> Tensor:
        """Return the images (N, C, H, W) that normalisation made these of; of 8 bits, uint8."""
        values = normalised * _column(self.std, normalised) + _column(self.mean, normalised)
        return (values * 255).round().clamp(0, 255).to(torch.uint8) if self.of_bytes else values


_SCALED = "values of which unsigned integers are divided by their type's maximum"


class Normalising(nn.Module):
    """A network behind the normalisation of what it is given."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, description: Description) -> None:
        super().__init__()
        self.network = network
        scale = 255.0 if description.of_bytes else 1.0
        example = torch.zeros(1)
        self.register_buffer("mean", _column(description.mean, example) * scale, persistent=False)
        self.register_buffer("std", _column(description.std, example) * scale, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores for images (N, C, H, W) as they are."""
        scores: Tensor = self.network((images.to(self.mean.dtype) - self.mean) / self.std)
        return scores


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return like.new_tensor(values)[:, None, None]


def _pair(size: list[int] | None) -> tuple[int, int] | None:
    """Return height and width; ValueError where they are none."""
    if size is None:
        return None
    height, width = map(int, size)
    return height, width


def _size_rule(data: DataConfig, settings: Settings) -> str:
    if settings.size is not None:
        height, width = settings.size
        return f"{height}x{width} (height x width)"
    if not data.eval_short_side:
        return "any: images as they are"
    limit = f", unless the long side would be longer than {data.long_side_max}" if data.long_side_max else ""
    return f"any; images are resized to a short side of {data.eval_short_side}{limit}, bilinearly with antialiasing"
