"""Networks as files of any kind, written only if the file's own runtime computes what PyTorch computes."""

import copy
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch import Tensor, nn

from dcnrun.errors import DcnrunError, UsageError
from dcnrun.export.description import outputs_of
from dcnrun.export.detections import Partners, partners
from dcnrun.export.detectors import ExportableDetector
from dcnrun.export.formats import ExportedNetwork, Quantized
from dcnrun.export.targets import TARGETS, Precision, Settings, Target
from dcnrun.export.verification import images_per_second
from dcnrun.models.sampling import sampling_layers
from dcnrun.runs import replacing
from dcnrun.tasks.detection.detector import Detections

TOLERANCE = {None: 1e-3, Precision.fp32: 1e-3, Precision.fp16: 3e-2, Precision.int8: 1e-3}
"""Largest difference as a share of the largest score. Rounding makes some 1e-6 in fp32 and 1e-3 in fp16, a wrong node 1e-1 and more.
What 8 bits make is no rounding error: of int8 the same file in fp32 is compared."""

_CLEARLY_FASTER = 1.1
"""So many times as fast must decomposed layers be to be chosen: less may be chance."""
_SEED = 0
_OFFSET_PIXELS = 2.0


@dataclass(frozen=True)
class Comparison:
    """The outputs of a file's runtime and PyTorch for one input compared, with the network's own offsets or random ones."""

    input: str
    shape: tuple[int, ...]
    offsets: str
    """learnt, or random"""
    largest_difference: float
    largest_score: float

    @property
    def share(self) -> float:
        """The largest difference as a share of the largest score."""
        return self.largest_difference / max(self.largest_score, torch.finfo(torch.float32).tiny)


@dataclass(frozen=True)
class DetectionComparison:
    """The detections of a file's runtime and PyTorch in one input compared."""

    input: str
    shape: tuple[int, ...]
    offsets: str
    """learnt; or random, in a network that takes whatever it is sure of for an object."""
    partners: Partners


@dataclass(frozen=True)
class Export:
    """A file that its runtime computes as PyTorch does, and what showed it."""

    target: Target
    settings: Settings
    exported: ExportedNetwork
    comparisons: list[Comparison]
    """Of scores; none of detectors."""
    detections: list[DetectionComparison]
    """Of detectors."""
    tolerance: float
    unquantized: ExportedNetwork | None = None
    """Of a file in 8 bits, the same in fp32, which was compared."""
    files: list[Path] = field(default_factory=list)
    """The files, once they are written; first the one that refers to the others."""

    def as_dict(self) -> dict[str, Any]:
        """Return what was written, and how: the settings that this kind of file has."""
        return {
            "to": self.target,
            "file": str(self.files[0]),
            "files": [str(file) for file in self.files],
            "bytes": sum(file.stat().st_size for file in self.files),
            **{name: value for name, value in asdict(self.settings).items() if name in TARGETS[self.target].settings},
        }


@contextmanager
def exporting(
    network: nn.Module,
    example: Tensor,
    path: Path,
    target: Target = Target.onnx,
    settings: Settings | None = None,
    *,
    inputs: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, str] | None = None,
    tolerance: float | None = None,
    calibration: Iterable[Tensor] = (),
) -> Iterator[Export]:
    """Give a file that was compared with the network, at a place of its own; it gets its name when the block ends without an error.

    The outputs are compared for random inputs of several shapes and for the given ones, of the network and of a copy with
    large random offsets: without offsets a wrong sampling point would not show. A file in 8 bits is given as it is, after the same
    file in fp32 has been compared so.

    Args:
        network: a network of one input (N, C, H, W) and one output. It is exported in evaluation mode and not changed.
        example: an input of the network.
        path: the file to write, perhaps with others beside it.
        target: the kind of file.
        settings: how it is to be.
        inputs: more inputs to compare, by a name for messages.
        metadata: what the file is to say of itself.
        tolerance: largest difference from PyTorch, as a share of the largest score; None: by the precision.
        calibration: inputs from which the ranges of 8-bit numbers are measured, each (1, C, H, W).

    Raises:
        UsageError: settings that can't be, the example is not (N, C, H, W), or the path is a folder.
        DcnrunError: a library is missing, the network can't be exported or the outputs differ; nothing is written.
    """
    settings, traits = settings or Settings(), TARGETS[target]
    settings.require(target)
    traits.require_installed()
    form = traits.load()
    form.check(settings)
    if example.dim() != 4:
        raise UsageError(f"the example must be of shape (N, C, H, W), but is {tuple(example.shape)}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the name of a file, such as {path / f'model{traits.suffix}'}")
    tolerance = TOLERANCE[settings.precision] if tolerance is None else tolerance
    network, example = copy.deepcopy(network).cpu().eval(), example.cpu()
    offsets = {"learnt": network}
    finds_objects = len(outputs_of(network)) > 1
    if (deformed := with_random_offsets(network)) is not None:
        offsets["random"] = deformed
    if finds_objects:  # in random images it may find nothing that it is sure of
        offsets["random"] = with_every_score(deformed or network)
    to_compare = _random_inputs(example, settings.any_size, one_image=finds_objects) | dict(inputs or {})
    with TemporaryDirectory(prefix="dcnrun-export-") as folder:
        staged = {name: Path(folder, name, path.name) for name in offsets}
        for file in staged.values():
            file.parent.mkdir()
        written = staged["learnt"]
        quantized = None
        if settings.is_quantized:
            written = Path(folder, "quantized", path.name)
            written.parent.mkdir()
            quantized = Quantized(written, calibration)
        form.write({staged[name]: offsets[name] for name in offsets}, example, settings, metadata or {}, quantized)
        export = Export(target, settings, form.open(staged["learnt"]), [], [], tolerance)
        for name, of_name in offsets.items():
            exported = export.exported if name == "learnt" else form.open(staged[name])
            for input, tensor in to_compare.items():
                if finds_objects:
                    found = _partners(of_name, exported, tensor, tolerance)
                    export.detections.append(DetectionComparison(input, tuple(tensor.shape), name, found))
                else:
                    export.comparisons.append(_compared(of_name, exported, input, tensor, name, export))
        sum((each.partners for each in export.detections), Partners()).require_few_alone(
            f"In {len(to_compare)} images, most of them random", tolerance
        )
        if quantized is not None:
            export = replace(export, exported=form.open(written), unquantized=export.exported)
        yield export
        for suffix in (*traits.other_suffixes, path.suffix):  # last the one that refers to the others
            with replacing(path.with_suffix(suffix)) as beside:
                shutil.copyfile(written.with_suffix(suffix), beside)
            export.files.insert(0, path.with_suffix(suffix))


def speeds_of_forms(
    network: nn.Module,
    example: Tensor,
    image: Tensor,
    target: Target,
    settings: Settings,
    calibration: Iterable[Tensor] = (),
) -> Mapping[bool, float]:
    """Return the images a second of the file that settings make, by whether its deformable layers are decomposed.

    Both forms are written, run by turns on one image, and thrown away; nothing is measured of a network without such layers.
    """
    network = copy.deepcopy(network).cpu().eval()
    if not sampling_layers(network):
        return {}
    form, suffix = TARGETS[target].load(), TARGETS[target].suffix
    with TemporaryDirectory(prefix="dcnrun-export-") as folder:
        files = {decomposed: Path(folder, f"{decomposed}{suffix}") for decomposed in (False, True)}
        for decomposed, file in files.items():
            its_settings = replace(settings, decompose=decomposed, opset=None)
            quantized = Quantized(file, calibration) if settings.is_quantized else None
            in_fp32 = file if quantized is None else file.with_stem(f"{decomposed}-fp32")
            form.write({in_fp32: network}, example.cpu(), its_settings, {}, quantized)
        works = [partial(form.open(file).outputs, image.cpu().contiguous()) for file in files.values()]
        return dict(zip(files, images_per_second(*works), strict=True))


def in_faster_form(
    network: nn.Module,
    example: Tensor,
    image: Tensor,
    target: Target,
    settings: Settings,
    calibration: Iterable[Tensor] = (),
) -> tuple[Settings, Mapping[bool, float]]:
    """Return settings that say in which form deformable layers are written, and both forms' images a second, if those were measured.

    They are where the form is to be the faster one, or `decompose` is asked for.
    """
    asked = settings.decompose is not None
    speeds: Mapping[bool, float] = {}
    if settings.decompose or (not asked and TARGETS[target].takes_faster_form):
        speeds = speeds_of_forms(network, example, image, target, settings, calibration)
    if not asked:
        settings = replace(settings, decompose=bool(speeds) and speeds[True] > _CLEARLY_FASTER * speeds[False])
    return settings, speeds


def form_in_words(settings: Settings, speeds: Mapping[bool, float], asked: bool) -> str:
    """Return which form was written, whether it was asked for or chosen, and how fast both are."""
    chosen = bool(settings.decompose)
    forms = {True: "GridSample and convolutions", False: "one operator each"}
    other = "" if asked else f" --{'no-' if chosen else ''}decompose asks for the other form."
    return (
        f"Deformable layers are written as {forms[chosen]}{'' if asked else ', chosen by measurement'}: {speeds[chosen]:.3g} images/s, "
        f"against {speeds[not chosen]:.3g} as {forms[not chosen]}.{other}"
    )


def _compared(
    network: nn.Module, exported: ExportedNetwork, name: str, tensor: Tensor, offsets: str, export: Export
) -> Comparison:
    """Run an input through both; DcnrunError if the outputs differ too much."""
    with torch.inference_mode():
        wanted = network(tensor)
    difference = float((exported.run(tensor) - wanted).abs().max())
    comparison = Comparison(name, tuple(tensor.shape), offsets, difference, float(wanted.abs().max()))
    if not comparison.share <= export.tolerance:
        raise DcnrunError(
            f"{TARGETS[export.target].runtime}'s output differs from PyTorch's by {difference:.3g}, of scores up to "
            f"{comparison.largest_score:.3g}; allowed is a share of {export.tolerance:g} (input: {name}, of shape "
            f"{tuple(tensor.shape)}; offsets: {offsets}). No file was written: please report it, with the network."
        )
    return comparison


def _partners(network: nn.Module, exported: ExportedNetwork, image: Tensor, tolerance: float) -> Partners:
    """Return how what a file finds in an image compares with what the network finds."""
    with torch.inference_mode():
        wanted = network(image)
    names, got = outputs_of(network), exported.outputs(image)
    found, of_network = (cast(Detections, dict(zip(names, each, strict=True))) for each in (got, wanted))
    return partners(found, of_network, tolerance)


def with_every_score(detector: nn.Module) -> nn.Module:
    """Return a copy that takes whatever it is sure of for an object, however little."""
    eager = copy.deepcopy(detector)
    for module in eager.modules():
        if isinstance(module, ExportableDetector):
            module.least_score.zero_()
    return eager


def with_random_offsets(network: nn.Module) -> nn.Module | None:
    """Return a copy whose offset branches predict offsets of some pixels, different everywhere; None without branches."""
    deformed = copy.deepcopy(network)
    layers = sampling_layers(deformed).values()
    generator = torch.Generator().manual_seed(_SEED)
    with torch.no_grad():
        for layer, parameter in ((each, parameter) for each in layers for parameter in each.offset_branch.parameters()):
            std = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else _OFFSET_PIXELS  # weights, or biases
            # Random factors that nothing bounds would grow from layer to layer, and rounding errors with them.
            rows = parameter if layer.mask_is_bounded else parameter[: 2 * len(parameter) // 3]
            rows.normal_(std=std, generator=generator)
    return deformed if layers else None


def _random_inputs(example: Tensor, any_size: bool, one_image: bool) -> dict[str, Tensor]:
    """Return inputs of the example's shape, of another batch size unless they are of one image, and of an odd size where it is free."""
    generator = torch.Generator().manual_seed(_SEED)
    batch, channels, height, width = example.shape
    shapes = {"random": (batch, channels, height, width)}
    if not one_image:
        shapes["another batch"] = (batch + 2, channels, height, width)
    if any_size:
        shapes["another size"] = (1, channels, height + 13, width + 6)
    if example.dtype == torch.uint8:
        return {
            name: torch.randint(256, shape, generator=generator, dtype=torch.uint8) for name, shape in shapes.items()
        }
    return {name: torch.randn(shape, generator=generator).to(example.dtype) for name, shape in shapes.items()}
