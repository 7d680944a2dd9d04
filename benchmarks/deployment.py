"""Networks of every kind of convolution in the runtimes that `dcnrun export` writes for: whether they load, what differs, how fast they are.

    python benchmarks/deployment.py benchmarks/results/deployment.json [docs/deployment.md]

Some nine minutes on two quiet cores, most of them compiling. The networks are those of `experiment=quick`, a DeepLab on a
ResNet-18 of a quarter's width, with random weights and random offsets of some two pixels, which show a wrong sampling point as
learnt ones near zero do not; images are 16 of the built-in data, 128x128, files are made for that size, and each is seen alone. Those in 8
bits are calibrated on 16 training images; labels of random weights change more easily than learnt ones.
Times are medians of rounds in which all take turns. AOTInductor compiles two kinds only, each for most of a minute.

A runtime that is not installed is a row that says so. With a second argument, the tables go into that page, between its marks.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from dcnrun.bench.machine import describe
from dcnrun.bench.timing import Work, interleaved, quartiles_ms
from dcnrun.config.compose import compose
from dcnrun.config.schema import CONV_TRAITS, ConvKind
from dcnrun.data import build_dataset, eval_batches
from dcnrun.data.sample import Split
from dcnrun.errors import DcnrunError
from dcnrun.export.decompositions import DECOMPOSITIONS
from dcnrun.export.exporting import with_random_offsets
from dcnrun.export.formats import Quantized
from dcnrun.export.targets import TARGETS, Precision, Settings, Target
from dcnrun.tasks.build import build_model

SIZE, IMAGES, THREADS = 128, 16, 2
ROUNDS, ROUNDS_OF_THE_LAST = 15, 40
KINDS = tuple(ConvKind)
COMPILED_AHEAD = (ConvKind.modulated, ConvKind.dcnv3)
"""Kinds that AOTInductor compiles."""
PLAIN = Settings(size=(SIZE, SIZE))
FILES: dict[str, tuple[Target, Settings]] = {
    **{str(target): (target, PLAIN) for target in Target},
    **{f"{target}, decomposed": (target, replace(PLAIN, decompose=True)) for target in (Target.onnx, Target.openvino)},
    **{
        f"{target}, int8": (target, replace(PLAIN, precision=Precision.int8))
        for target in (Target.onnx, Target.openvino)
    },
}
"""What is written, by its name in tables."""
COMPARED = ConvKind.modulated
"""The kind whose network is timed once more, longer, and under torch.compile too."""
EAGER, COMPILED = "PyTorch, our operator", "torch.compile, our operator"
SHAPES = {"C128 32x32": (1, 128, 32), "C64 64x64": (2, 64, 64), "C512 16x16": (1, 512, 16)}
LIBRARIES = ("torch", "torchvision", "onnx", "onnxruntime", "openvino", "ncnn", "pnnx")
START, END = "<!-- deployment: start -->", "<!-- deployment: end -->"


def network_of(kind: ConvKind) -> nn.Module:
    torch.manual_seed(0)
    dilation = ["conv.dilation=2"] if kind is ConvKind.dilated else []
    network = build_model(compose(["experiment=quick", f"conv={kind}", *dilation]), 8).network.eval()
    return (with_random_offsets(network) or network).to(memory_format=torch.channels_last)


def some_images(split: Split) -> list[Tensor]:
    settings = [f"data.image_size={SIZE}", f"data.{split}_images={IMAGES}", "data.eval_batch_size=1", "data.workers=0"]
    data = compose(["experiment=quick", *settings]).data
    return [batch["image"] for batch in eval_batches(build_dataset(data, split), data)]


def exported(
    target: Target, settings: Settings, network: nn.Module, calibration: list[Tensor], file: Path
) -> Callable[[Tensor], Tensor]:
    """Return what computes a network in a target's runtime; DcnrunError where it can't be had."""
    traits = TARGETS[target]
    traits.require_installed()
    form = traits.load()
    form.check(settings)
    file = file.with_name(f"{file.name}{traits.suffix}")
    in_8_bits = Quantized(file.with_stem(f"{file.stem} in 8 bits"), calibration) if settings.is_quantized else None
    contiguous = network.to(memory_format=torch.contiguous_format)
    form.write({file: contiguous}, calibration[0], settings, {}, in_8_bits)
    return form.open(file if in_8_bits is None else in_8_bits.path).run


def compared(run: Callable[[Tensor], Tensor], network: nn.Module, images: list[Tensor]) -> dict[str, Any]:
    """Return how far a runtime's outputs are from PyTorch's."""
    difference, largest, changed = 0.0, 0.0, 0
    for image in images:
        wanted, got = network(image), run(image)
        difference = max(difference, float((got - wanted).abs().max()))
        largest = max(largest, float(wanted.abs().max()))
        changed += int((got.argmax(1) != wanted.argmax(1)).sum())
    return {
        "largest_difference": difference,
        "largest_score": largest,
        "changed_labels": changed / (len(images) * SIZE**2),
    }


def matrix_of(
    kind: ConvKind, images: list[Tensor], calibration: list[Tensor], folder: Path
) -> tuple[dict[str, Any], dict[str, Work]]:
    """Return a row for each runtime, and what runs one image in it."""
    network = network_of(kind)
    laid_out = [image.contiguous(memory_format=torch.channels_last) for image in images]
    works: dict[str, Work] = {EAGER: lambda: network(laid_out[0])}
    rows: dict[str, Any] = {}
    for name, (target, settings) in FILES.items():
        if target is Target.aoti and kind not in COMPILED_AHEAD:
            continue
        if settings.decompose and not CONV_TRAITS[kind].learns_offsets:
            continue
        print(f"{kind}: {name}", file=sys.stderr, flush=True)
        try:
            run = exported(target, settings, network_of(kind), calibration, folder / name)
        except DcnrunError as error:
            rows[name] = {"loads": False, "why": str(error)}
            continue
        rows[name] = {"loads": True, **compared(run, network, images)}
        works[name] = lambda run=run: run(images[0])
    return rows, works


def timed(works: dict[str, Work], rounds: int) -> dict[str, dict[str, float]]:
    return {name: quartiles_ms(seconds) for name, seconds in interleaved(works, rounds).items()}


def forms() -> dict[str, Any]:
    """Time a layer as a program of torch.export has it, made of grid_sample, beside torchvision's operator and ours."""
    found, ours = {}, torch.ops.dcnrun.deform_conv2d.default
    for name, (batch, channels, side) in SHAPES.items():
        generator = torch.Generator().manual_seed(0)

        def drawn(*shape: int, generator: torch.Generator = generator) -> Tensor:
            return torch.randn(shape, generator=generator)

        input = drawn(batch, channels, side, side).contiguous(memory_format=torch.channels_last)
        offset, mask = 2 * drawn(batch, 18, side, side), drawn(batch, 9, side, side)
        operands = (input, offset, drawn(channels, channels, 3, 3) / channels, None, [1, 1], [1, 1], [1, 1], mask)
        works = {
            "ours": lambda ours=ours, operands=operands: ours(*operands),
            "grid_sample": lambda ours=ours, operands=operands: DECOMPOSITIONS[ours](*operands),
            "torchvision": lambda operands=operands: torchvision.ops.deform_conv2d(*operands),
        }
        wanted = works["ours"]()
        differences = {form: float((work() - wanted).abs().max()) for form, work in works.items()}
        found[name] = {"milliseconds": timed(works, ROUNDS), "largest_differences": differences}
    return found


def versions() -> dict[str, str]:
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "not installed"
    return found


def tables(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    named = ", ".join(f"{library} {number}" for library, number in result["versions"].items())
    machine = result["machine"]
    lines = [
        f"[Measured](../benchmarks/results/deployment.json): {machine['cpu']}, {machine['threads']} threads, load {machine['load_average']}; {named}.",
        "",
        "| network | file | loads | largest difference | changed labels | time of onnxruntime's | time of PyTorch's with our operator |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for kind, of_kind in result["matrix"].items():
        times = {name: each["median"] for name, each in of_kind["milliseconds"].items()}
        for name, row in of_kind["rows"].items():
            if not row["loads"]:
                lines.append(f"| {kind} | {name} | no: {row['why'].splitlines()[0]} | | | | |")
                continue
            ratios = [f"{times[name] / times[other]:.2f}" if other in times else "" for other in (Target.onnx, EAGER)]
            differs = f"{row['largest_difference']:.1e} of {row['largest_score']:.3g}"
            cells = (kind, name, "yes", differs, f"{100 * row['changed_labels']:.3f} %", *ratios)
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"| {COMPARED} | images/s | beside PyTorch with our operator |", "|---|---:|---:|"]
    last = {name: each["median"] for name, each in result["compared"]["milliseconds"].items()}
    for name, milliseconds in sorted(last.items(), key=lambda each: each[1]):
        lines.append(f"| {name} | {1e3 / milliseconds:.0f} | {last[EAGER] / milliseconds:.2f} times |")
    return "\n".join(lines)


def into_page(text: str, page: Path) -> None:
    before, _, rest = page.read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{page} has no lines {START} and {END}: put them where the tables belong")
    page.write_text(f"{before}{START}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> None:
    out, *pages = map(Path, sys.argv[1:])
    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    images, calibration = some_images("val"), some_images("train")
    matrix: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            own = Path(folder, kind)
            own.mkdir()
            rows, works = matrix_of(kind, images, calibration, own)
            matrix[kind] = {"rows": rows, "milliseconds": timed(works, ROUNDS)}
            if kind is COMPARED:
                chosen = works
        network = torch.compile(network_of(COMPARED))
        image = images[0].contiguous(memory_format=torch.channels_last)
        chosen[COMPILED] = lambda: network(image)
        for work in chosen.values():
            work()
        last = timed(chosen, ROUNDS_OF_THE_LAST)
    result = {
        "machine": describe(),
        "versions": versions(),
        "network": f"experiment=quick, {SIZE}x{SIZE}, {IMAGES} images, random weights and offsets",
        "matrix": matrix,
        "compared": {"kind": COMPARED, "milliseconds": last},
        "forms": forms(),
    }
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(tables(result))
    for page in pages:
        into_page(tables(result), page)


if __name__ == "__main__":
    main()
