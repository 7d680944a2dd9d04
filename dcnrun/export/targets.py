"""What `dcnrun export` can write: one row for each kind of file. Imports no torch, for the command line reads it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from dcnrun.errors import DcnrunError, UsageError

if TYPE_CHECKING:
    from dcnrun.export.formats import ExportFormat


class Target(StrEnum):
    """Kinds of files."""

    onnx = "onnx"
    openvino = "openvino"
    torch = "torch"
    aoti = "aoti"
    ncnn = "ncnn"


class Precision(StrEnum):
    """The numbers that a file holds its weights in."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


@dataclass(frozen=True)
class Settings:
    """How a file is to be; None and False where nothing was asked for."""

    opset: int | None = None
    """Version of the ONNX standard."""
    size: tuple[int, int] | None = None
    """Height and width that the file is for; None: any."""
    precision: Precision | None = None
    """None: fp32."""
    with_preprocessing: bool = False
    """Whether the network normalises what it is given."""
    decompose: bool | None = None
    """Whether deformable layers are written as operators that every reader knows; None: as `TargetTraits.takes_faster_form` says."""

    quantize_deformable: bool = False
    """Whether, of int8, what predicts sampling points and what they sample is in 8 bits too."""

    @property
    def any_size(self) -> bool:
        """Whether height and width stay free, as the batch always does."""
        return self.size is None

    @property
    def is_half(self) -> bool:
        """Whether weights are of 16 bits."""
        return self.precision is Precision.fp16

    @property
    def is_quantized(self) -> bool:
        """Whether weights and activations are of 8 bits."""
        return self.precision is Precision.int8

    def require(self, target: Target) -> None:
        """Raise UsageError for what was asked for and a target does not have."""
        asked = [field.name for field in fields(self) if getattr(self, field.name) not in (None, False)]
        for name in asked:
            if name not in TARGETS[target].settings:
                having = ", ".join(each for each, traits in TARGETS.items() if name in traits.settings)
                raise UsageError(
                    f"--{name.replace('_', '-')} is not for --to {target}, but for {having}: leave it out."
                )
        if self.precision is not None and self.precision not in TARGETS[target].precisions:
            having = ", ".join(each for each, traits in TARGETS.items() if self.precision in traits.precisions)
            raise UsageError(f"--precision {self.precision} is not for --to {target}, but for {having}.")
        if self.quantize_deformable and not self.is_quantized:
            raise UsageError(f"--quantize-deformable goes with --precision {Precision.int8}.")


@dataclass(frozen=True)
class TargetTraits:
    """A kind of file: what it is called, what computes it, and what may be chosen of it."""

    title: str
    """Its name in messages, such as `ONNX`."""
    suffix: str
    """How its name ends, such as `.onnx`."""
    runtime: str
    """What computes it, and what it is compared with PyTorch in before it is written."""
    modules: tuple[str, ...]
    """What must be installed to write and to compute it."""
    install: str
    """The command that installs them."""
    settings: frozenset[str]
    """Those of `Settings` that it has."""
    load: Callable[[], "ExportFormat"]
    """Import what writes and reads it, and torch with it."""
    precisions: tuple[Precision, ...] = (Precision.fp32,)
    loading: str = ""
    """What loads it, in words."""
    why_no_detectors: str = ""
    """Why networks for objects are not written; they are where this is empty."""
    takes_faster_form: bool = False
    """Whether, unless it is asked for one, deformable layers are written in the form that is faster here."""
    runs_code: bool = False
    """Whether code in a file may run as it is loaded."""
    other_suffixes: tuple[str, ...] = ()
    """Of the files that belong to it, in the same folder with the same stem."""
    note: str = ""
    """What whoever computes it must know; in the file too."""

    def require_installed(self) -> None:
        """Raise DcnrunError, with what to do, where a module is missing."""
        missing = [module for module in self.modules if find_spec(module) is None]
        if missing:
            raise DcnrunError(f"{self.title} files need {', '.join(missing)}, not installed here: {self.install}")


def _onnx() -> "ExportFormat":
    from dcnrun.export.onnx import OnnxFormat

    return OnnxFormat()


def _openvino() -> "ExportFormat":
    from dcnrun.export.openvino import OpenvinoFormat

    return OpenvinoFormat()


def _program() -> "ExportFormat":
    from dcnrun.export.pt2 import ProgramFormat

    return ProgramFormat()


def _package() -> "ExportFormat":
    from dcnrun.export.pt2 import PackageFormat

    return PackageFormat()


def _ncnn() -> "ExportFormat":
    from dcnrun.export.ncnn import NcnnFormat

    return NcnnFormat()


TARGETS: dict[Target, TargetTraits] = {
    Target.onnx: TargetTraits(
        title="ONNX",
        suffix=".onnx",
        runtime="onnxruntime",
        modules=("onnx", "onnxscript", "onnxruntime"),
        install="pip install 'dcnrun[onnx]'",
        settings=frozenset({"opset", "size", "precision", "quantize_deformable", "with_preprocessing", "decompose"}),
        load=_onnx,
        precisions=tuple(Precision),
    ),
    Target.openvino: TargetTraits(
        title="OpenVINO",
        suffix=".xml",
        other_suffixes=(".bin",),
        runtime="OpenVINO",
        modules=("openvino", "onnx", "onnxscript", "onnxruntime"),
        install="pip install 'dcnrun[openvino]'",
        settings=frozenset({"size", "precision", "quantize_deformable", "with_preprocessing", "decompose"}),
        load=_openvino,
        precisions=tuple(Precision),
        takes_faster_form=True,
        note="These numbers are of INFERENCE_PRECISION_HINT=f32. Unless it is given, OpenVINO computes in bf16 or fp16 on CPUs that "
        "have units for it: compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'}).",
    ),
    Target.torch: TargetTraits(
        title="torch.export",
        suffix=".pt2",
        runtime="torch.export",
        modules=("torch",),
        install="pip install torch",
        settings=frozenset({"size", "with_preprocessing"}),
        load=_program,
        loading="PyTorch alone, without dcnrun or torchvision: torch.export.load(FILE).module()",
        runs_code=True,
    ),
    Target.aoti: TargetTraits(
        title="AOTInductor",
        suffix=".pt2",
        runtime="AOTInductor",
        modules=("torch",),
        install="pip install torch",
        settings=frozenset({"size", "with_preprocessing"}),
        load=_package,
        loading="PyTorch of this version alone, on CPUs with this one's instructions: torch._inductor.aoti_load_package(FILE); with --size it"
        " takes one image at a time",
        runs_code=True,
    ),
    Target.ncnn: TargetTraits(
        title="ncnn",
        suffix=".param",
        runtime="ncnn",
        modules=("ncnn", "pnnx"),
        install="pip install 'dcnrun[ncnn]'",
        settings=frozenset({"size", "precision"}),
        load=_ncnn,
        precisions=(Precision.fp32, Precision.fp16),
        loading="ncnn of this version or later, one image at a time; input in0, output out0",
        why_no_detectors="pnnx, which converts for ncnn, has no non-maximum suppression, without which what an image shows is not found",
        other_suffixes=(".bin", ".json"),
    ),
}


def target_of(file: Path, asked: Target | None = None) -> Target:
    """Return the kind of a file by its name; the one that is asked for, where the name fits. UsageError where the name says none."""
    if asked is not None:
        suffix = TARGETS[asked].suffix
        if file.suffix != suffix and asked is not Target.onnx:
            raise UsageError(
                f"--out {file}: {TARGETS[asked].title} files end with {suffix}: {file.with_suffix(suffix)}"
            )
        return asked
    if found := next((target for target, traits in TARGETS.items() if traits.suffix == file.suffix), None):
        return found
    kinds = ", ".join(f"{traits.suffix} ({traits.title})" for traits in TARGETS.values())
    raise UsageError(f"--out {file}: the name says no kind of file, and no --to does: {kinds}")


def parse_size(size: str) -> tuple[int, int]:
    """Return (height, width) of a text such as 512x1024."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", size)
    if match is None:
        raise UsageError(f"--size is {size!r}: give height and width in pixels, such as 512x1024")
    return int(match[1]), int(match[2])
