"""`dcnrun export`: a run's network as an ONNX file with its preprocessing and classes as metadata."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from torch.nn import functional as F

import dcnrun
from dcnrun.config.compose import to_yaml
from dcnrun.config.schema import DataConfig, SegmentationModelConfig, SmpConfig
from dcnrun.console import console, printable
from dcnrun.data.mask_batches import evaluation_transform
from dcnrun.errors import UsageError
from dcnrun.export.onnx import INPUT, OUTPUT, OnnxExport, export_onnx
from dcnrun.runs import CheckpointChoice
from dcnrun.training.trained_run import TrainedRun, load_trained_run


def export_run(
    run: Path, out: Path, which: CheckpointChoice, opset: int, size: str | None = None, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Write a run's network as an ONNX file; print and return its inputs, outputs and comparison with PyTorch.

    The file's outputs are compared on random inputs and on the first validation image.

    Args:
        run: the run folder.
        out: the file to write.
        which: the run's `best` or `last` checkpoint.
        opset: version of the ONNX standard.
        size: height x width in pixels, such as 512x1024; None leaves both free.
        overrides: changes of the run's config, for other data.
    """
    fixed = None if size is None else parse_size(size)
    trained = load_trained_run(run, which, overrides)
    config = trained.config
    if not isinstance(config.model, SegmentationModelConfig | SmpConfig):
        raise UsageError(
            f"{run} is a network for objects (model={config.model.head}), whose output is no tensor of a fixed shape: "
            "`dcnrun export` writes networks for segmentation only."
        )
    val_set = trained.val_set()
    network = trained.model(len(val_set.classes)).network
    sample = val_set[0]
    image = evaluation_transform(config.data)(sample).image[None]
    image = F.interpolate(image, fixed, mode="bilinear") if fixed else image
    crop = config.data.crop_size
    exported = export_onnx(
        network,
        image if fixed or not crop else image[..., :crop, :crop],
        out,
        opset=opset,
        any_size=fixed is None,
        inputs={f"validation image {sample['name']}": image},
        metadata=describe(trained, which, val_set.classes),
    )
    _print(exported, trained, val_set.classes)
    return {
        "run": str(run),
        "checkpoint": which,
        "step": trained.step,
        "file": str(out),
        "bytes": out.stat().st_size,
        "opset": opset,
        "input": {"name": INPUT, "shape": exported.input_shape},
        "output": {"name": OUTPUT, "shape": exported.output_shape},
        "largest_difference": max(comparison.largest_difference for comparison in exported.comparisons),
        "comparisons": [vars(comparison) for comparison in exported.comparisons],
    }


def parse_size(size: str) -> tuple[int, int]:
    """Return (height, width) of a text such as 512x1024."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", size)
    if match is None:
        raise UsageError(f"--size is {size!r}: give height and width in pixels, such as 512x1024")
    return int(match[1]), int(match[2])


def describe(trained: TrainedRun, which: CheckpointChoice, classes: Sequence[str]) -> dict[str, str]:
    """Return the metadata of an ONNX file: all that is needed to feed it and to read its output. Lists are JSON."""
    data = trained.config.data
    return {
        "task": "semantic segmentation",
        "input": f"float32 (batch, {data.channels}, height, width), {_bands(data)}. The network does not normalise: do it first.",
        "mean": json.dumps(data.mean),
        "std": json.dumps(data.std),
        "output": "float32 (batch, classes, height, width), logits; the class of a pixel is the largest along axis 1",
        "classes": json.dumps(list(classes)),
        "config": to_yaml(trained.config),
        "checkpoint": which,
        "step": str(trained.step),
        "dcnrun": dcnrun.__version__,
    }


def _bands(data: DataConfig) -> str:
    """Return what the bands of an input are, and how they are normalised."""
    if not data.bands:
        return "RGB; each channel is (value / 255 - mean) / std"
    return (
        f"bands {data.bands} of the image's, counted from 0; each is (value - mean) / std, where unsigned integers are"
        " divided by their type's maximum before"
    )


def _print(exported: OnnxExport, trained: TrainedRun, classes: Sequence[str]) -> None:
    data = trained.config.data
    input_shape, output_shape = (f"({', '.join(map(str, s))})" for s in (exported.input_shape, exported.output_shape))
    lines = [
        f"{exported.path}: {exported.path.stat().st_size / 2**20:.1f} MiB, opset {exported.opset}",
        f"{INPUT}: float32 {input_shape}, {_bands(data)}, to be done before: mean {data.mean}, std {data.std}",
        f"{OUTPUT}: float32 {output_shape}, logits of {printable(', '.join(classes))}",
    ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    columns = "input", "shape", "offsets", "largest score", "largest difference"
    table = Table(*columns, title="onnxruntime against PyTorch")
    for comparison in exported.comparisons:
        shape = "x".join(map(str, comparison.shape))
        numbers = f"{comparison.largest_score:.4g}", f"{comparison.largest_difference:.2g}"
        table.add_row(escape(printable(comparison.input)), shape, comparison.offsets, *numbers)
    console.print(table)
