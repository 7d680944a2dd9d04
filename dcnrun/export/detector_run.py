"""`dcnrun export` of a detector's run: its network as a file, compared with PyTorch by what both find."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from rich.table import Table
from torch import nn

from dcnrun.console import console, printable
from dcnrun.data import BoxDataset
from dcnrun.errors import UsageError
from dcnrun.export.description import INPUT, Description, Normalising
from dcnrun.export.detections import DetectionAgreement, ExportedDetector, Partners, batch_of, detection_agreement
from dcnrun.export.detectors import ExportableDetector
from dcnrun.export.exporting import Export, exporting, form_in_words, in_faster_form
from dcnrun.export.targets import TARGETS, Precision, Settings, Target
from dcnrun.runs import CheckpointChoice
from dcnrun.tasks.detection.detector import DetectionNetwork
from dcnrun.tasks.registry import task_of
from dcnrun.training.trained_run import TrainedRun

_FREE_EXAMPLE = (256, 320)
"""Height and width of the input that a file for any size is made with: on every map of a pyramid more than one pixel, which the exporter
would take for a constant."""


def require_writable(target: Target, settings: Settings) -> None:
    """Raise UsageError where a detector can't be written so."""
    if why := TARGETS[target].why_no_detectors:
        writing = ", ".join(f"--to {each}" for each, traits in TARGETS.items() if not traits.why_no_detectors)
        raise UsageError(f"--to {target}: networks for objects are written with {writing} only: {why}.")
    if settings.precision not in (None, Precision.fp32):
        raise UsageError(
            f"--precision {settings.precision}: networks for objects are written in fp32, for positions in fp16 are whole pixels from "
            "1024 on, and even ones from 2048 on."
        )


def export_detector(
    trained: TrainedRun,
    out: Path,
    which: CheckpointChoice,
    target: Target,
    settings: Settings,
    *,
    limit: int,
    licence: str,
) -> dict[str, Any]:
    """Write a detector as a file; print and return its inputs, outputs and comparison with PyTorch.

    The arguments are those of `dcnrun.export.run.export_run`, and the run that it has opened.
    """
    require_writable(target, settings)
    config, val_set = trained.config, trained.val_set()
    assert isinstance(val_set, BoxDataset)
    network = trained.model(len(val_set.classes)).network.eval()
    assert isinstance(network, DetectionNetwork)
    sample, batch = val_set[0], batch_of(val_set, 0, config, settings.size)
    exportable = ExportableDetector(network)
    outputs = exportable.exported_outputs
    description = Description.of_run(trained, which, val_set.classes, sample["image"], settings, licence, outputs)
    to_export: nn.Module = Normalising(exportable, description) if description.normalises else exportable
    height, width = batch["sizes"][0]
    image = batch["image"][..., :height, :width]
    if description.normalises:
        image = description.pixels(image)
    example = torch.zeros(1, image.shape[1], *_FREE_EXAMPLE, dtype=image.dtype) if settings.any_size else image
    inputs = {f"validation image {sample['name']}": image}
    asked = settings.decompose is not None
    timed = replace(settings, size=(height, width))  # for any size it takes a minute to write, and computes the same
    form, speeds = in_faster_form(to_export, image, image, target, timed)
    settings = replace(settings, decompose=form.decompose)
    description = replace(description, decomposed=bool(settings.decompose))
    note = TARGETS[target].note
    metadata = description.as_metadata() | ({"note": note} if note else {})
    with exporting(to_export, example, out, target, settings, inputs=inputs, metadata=metadata) as export:
        exported = ExportedDetector(export.exported, description)
        agreed = detection_agreement(network, exported, config, val_set, limit, settings.size, export.tolerance)
    result = {
        "checkpoint": which,
        "step": trained.step,
        **export.as_dict(),
        "input": {"name": INPUT, "shape": [1, image.shape[1], *(settings.size or ("height", "width"))]},
        "outputs": list(outputs),
        "images_per_second_of_forms": {"decomposed": speeds[True], "operators": speeds[False]} if speeds else None,
        "comparisons": [asdict(comparison) for comparison in export.detections],
        "validation": asdict(agreed),
    }
    _print(result, description, export, agreed, task_of(config.model).traits.metric(config))
    if speeds:
        console.print(form_in_words(settings, speeds, asked), soft_wrap=True)
    return result


def _print(
    result: Mapping[str, Any], description: Description, export: Export, agreed: DetectionAgreement, metric: str
) -> None:
    facts = description.as_metadata()
    shape = ", ".join(map(str, result["input"]["shape"]))
    lines = [
        f"{', '.join(result['files'])}: {result['bytes'] / 2**20:.1f} MiB",
        f"{INPUT}: {description.input_type} ({shape}), {description.input_values} mean {list(description.mean)}, std {list(description.std)}",
        *facts["output"].split("; "),
        f"classes: {printable(', '.join(description.classes))}",
    ]
    if loading := TARGETS[export.target].loading:
        lines.append(f"It is loaded by {loading}.")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    runtime = TARGETS[export.target].runtime
    columns = "input", "shape", "offsets", "detections", "without partner", "corners apart", "scores apart"
    table = Table(*columns, title=f"{runtime} against PyTorch")
    for comparison in export.detections:
        shape = "x".join(map(str, comparison.shape))
        table.add_row(
            escape(printable(comparison.input)), shape, comparison.offsets, *_in_words(comparison.partners).values()
        )
    console.print(table)
    compared = [(name, value, "") for name, value in _in_words(agreed.partners).items()]
    agreed.show(metric, export.target, compared)
    console.print(
        "A partner has the same class and, within a thousandth, the same place, score and mask.", soft_wrap=True
    )


def _in_words(partners: Partners) -> dict[str, str]:
    return {
        "detections of both": str(partners.detections),
        "without partner": f"{100 * partners.share_alone:.3g} %",
        "corners apart": f"{partners.largest_distance:.2g} pixels",
        "scores apart": f"{partners.largest_difference:.2g}",
    }
