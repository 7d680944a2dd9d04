"""What a kind of exported file is to the rest of the package: how it is written, and a network that its own runtime computes."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from dcnrun.errors import DataError, UsageError
from dcnrun.export.description import Description
from dcnrun.export.targets import TARGETS, Settings, Target


class ExportedNetwork(ABC):
    """A network that was loaded from a file, in the file's own runtime, with as many threads as PyTorch has here."""

    metadata: Mapping[str, str]
    """What the file says of itself."""

    @abstractmethod
    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return all outputs for images (N, C, H, W) on the CPU, in their order; a runtime that takes one at a time gets them so.

        DcnrunError where the runtime fails.
        """

    def run(self, images: Tensor) -> Tensor:
        """Return the scores (N, C, H, W), the only output; DataError where there are others."""
        outputs = self.outputs(images)
        if len(outputs) != 1:
            raise DataError(f"The network has {len(outputs)} outputs; one, scores of pixels, is expected.")
        return outputs[0]


@dataclass(frozen=True)
class Quantized:
    """A file in 8 bits."""

    path: Path
    calibration: Iterable[Tensor]
    """Inputs from which the ranges of its numbers are measured, each (1, C, H, W)."""


class ExportFormat(ABC):
    """A kind of file."""

    @abstractmethod
    def check(self, settings: Settings) -> None:
        """Raise UsageError for values that can't be; that the kind of file has them is known."""

    @abstractmethod
    def write(
        self,
        networks: Mapping[Path, nn.Module],
        example: Tensor,
        settings: Settings,
        metadata: Mapping[str, str],
        quantized: Quantized | None = None,
    ) -> None:
        """Write a file for each network; DcnrunError where one can't be written.

        Args:
            networks: by the file, networks in evaluation mode on the CPU that differ in weights of their offset branches alone.
            example: an input of theirs.
            settings: how the files are to be.
            metadata: what they are to say of themselves.
            quantized: where to write the first network once more, in 8 bits, where settings say so; the others are in fp32 then.
        """

    @abstractmethod
    def open(self, path: Path) -> ExportedNetwork:
        """Load a file; DcnrunError where its runtime can't."""


class ExportedModule(nn.Module):
    """An exported network in the place of the one that it was made of: it takes images as a data set's batches have them.

    Where the file is for one size, images are resized to it, and scores back. Without a description, nothing is done to images.
    """

    def __init__(self, exported: ExportedNetwork, description: Description | None) -> None:
        super().__init__()
        self.exported, self.description = exported, description

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores (N, classes, H, W) for normalised images (N, C, H, W)."""
        size, known = images.shape[2:], self.description
        if known is not None and known.size not in (None, size):
            images = F.interpolate(images, known.size, mode="bilinear", antialias=True)
        if known is not None and known.normalises:
            images = known.pixels(images)
        scores = self.exported.run(images.cpu().contiguous())
        if images.shape[2:] == size:
            return scores
        return F.interpolate(scores, size, mode="bilinear")


def open_exported(path: Path, trusted: bool = False) -> ExportedNetwork:
    """Load an exported file, whose kind its name tells, in its own runtime.

    UsageError where it is of no known kind, or may run code of its own and is not `trusted`; DcnrunError where the runtime is not
    installed or can't load it.
    """
    fitting = [target for target, traits in TARGETS.items() if traits.suffix == path.suffix]
    if not fitting:
        known = ", ".join(sorted({traits.suffix for traits in TARGETS.values()}))
        raise UsageError(f"{path}: exported files end with {known}.")
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file.")
    traits = TARGETS[Target(fitting[0])]
    if traits.runs_code and not trusted:
        raise UsageError(
            f"{path}: a {traits.suffix} file can run any code as it is loaded. Where you know who made it, load it with --trust."
        )
    traits.require_installed()
    return traits.load().open(path)


def read_metadata(text: str | bytes, where: str) -> dict[str, str]:
    """Return what a file says of itself in JSON; DataError, which says that it is `where`, for anything else."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where} can't be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{where} is not what `dcnrun export` writes: an object of JSON is expected.")
    return {str(name): str(value) for name, value in content.items()}


def first_cause(error: BaseException) -> str:
    """Return the first error of a chain in one line; PyTorch's own report fills a page."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}"
