"""What an exported file says of itself: all that is needed to feed it and to read its output."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import dcnrun
from dcnrun.config.compose import to_yaml
from dcnrun.config.schema import DataConfig
from dcnrun.errors import DataError
from dcnrun.export.targets import Precision, Settings
from dcnrun.runs import CheckpointChoice
from dcnrun.training.trained_run import TrainedRun

INPUT, OUTPUT = "image", "scores"
"""What input and output of a network are called, in formats that name them."""
OF_OBJECTS, OF_MASKS = ("boxes", "scores", "labels"), ("boxes", "scores", "labels", "masks")
"""What the outputs of a detector are called, and those of one that finds masks."""

UNKNOWN = "unknown"
"""What a file says of the licence of its weights where nobody has said it."""


def outputs_of(network: nn.Module) -> tuple[str, ...]:
    """Return what a network's outputs are called; one with several takes one image at a time."""
    names: tuple[str, ...] = getattr(network, "exported_outputs", (OUTPUT,))
    return names


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
    outputs: tuple[str, ...] = (OUTPUT,)
    """What the outputs are called; those of detectors are several."""

    @classmethod
    def of_run(
        cls,
        trained: TrainedRun,
        which: CheckpointChoice,
        classes: Sequence[str],
        image: Tensor,
        settings: Settings,
        licence: str,
        outputs: tuple[str, ...] = (OUTPUT,),
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
            outputs=outputs,
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
                outputs=_known(tuple(map(str, json.loads(metadata["outputs"])))),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"The file does not say what it is as `dcnrun export` of this version writes it ({error})."
            ) from error

    def as_metadata(self) -> dict[str, str]:
        """Return it as texts by name; lists are JSON."""
        return {
            "task": _TASKS[self.outputs],
            "input": f"{self.input_type} ({'1' if self.finds_objects else 'batch'}, {len(self.mean)}, height, width), {self.input_values}",
            "normalises": json.dumps(self.normalises),
            "8-bit images": json.dumps(self.of_bytes),
            "bands": json.dumps(self.bands),
            "mean": json.dumps(self.mean),
            "std": json.dumps(self.std),
            "size": self.size_rule,
            "fixed size": json.dumps(self.size),
            "output": "; ".join(_MEANINGS[self.finds_objects][name] for name in self.outputs),
            "outputs": json.dumps(self.outputs),
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
    def finds_objects(self) -> bool:
        """Whether the outputs are those of a detector."""
        return self.outputs != (OUTPUT,)

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


_TASKS = {
    (OUTPUT,): "semantic segmentation",
    OF_OBJECTS: "object detection",
    OF_MASKS: "instance segmentation",
}
_MEANINGS = {
    False: {
        OUTPUT: "float32 (batch, classes, height, width), logits; the class of a pixel is the largest along axis 1"
    },
    True: {
        "boxes": "boxes: float32 (objects, 4), x0, y0, x1, y1 in pixels of the input, from 0 and half-open; overlaps are suppressed, the surest come first",
        "scores": "scores: float32 (objects,), from 0 to 1",
        "labels": "labels: int64 (objects,), places in the classes",
        "masks": "masks: float32 (objects, 1, s, s), for s x s cells of each box how likely the object is there; they are not pasted into the image",
    },
}
_SCALED = "values of which unsigned integers are divided by their type's maximum"


class Normalising(nn.Module):
    """A network behind the normalisation of what it is given."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, description: Description) -> None:
        super().__init__()
        self.network, self.exported_outputs = network, outputs_of(network)
        scale = 255.0 if description.of_bytes else 1.0
        example = torch.zeros(1)
        self.register_buffer("mean", _column(description.mean, example) * scale, persistent=False)
        self.register_buffer("std", _column(description.std, example) * scale, persistent=False)

    def forward(self, images: Tensor) -> Any:
        """Return what the network says of images (N, C, H, W) as they are."""
        return self.network((images.to(self.mean.dtype) - self.mean) / self.std)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return like.new_tensor(values)[:, None, None]


def _pair(size: list[int] | None) -> tuple[int, int] | None:
    """Return height and width; ValueError where they are none."""
    if size is None:
        return None
    height, width = map(int, size)
    return height, width


def _known(outputs: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of outputs; ValueError for names of none that are written."""
    if outputs not in _TASKS:
        raise ValueError(f"outputs {', '.join(outputs)}")
    return outputs


def _size_rule(data: DataConfig, settings: Settings) -> str:
    if settings.size is not None:
        height, width = settings.size
        return f"{height}x{width} (height x width)"
    if not data.eval_short_side:
        return "any: images as they are"
    limit = f", unless the long side would be longer than {data.long_side_max}" if data.long_side_max else ""
    return f"any; images are resized to a short side of {data.eval_short_side}{limit}, bilinearly with antialiasing"
