"""`dcnrun export`: a run's network as a file for another runtime, compared with PyTorch on the run's validation images."""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from torch import Tensor

from dcnrun.config.schema import DataConfig, DetectionModelConfig, MaskModelConfig
from dcnrun.console import console, printable
from dcnrun.data import Sample
from dcnrun.data.mask_batches import evaluation_transform
from dcnrun.errors import UsageError
from dcnrun.export.description import INPUT, OUTPUT, UNKNOWN, Description, Normalising
from dcnrun.export.detector_run import export_detector
from dcnrun.export.exporting import Export, exporting, form_in_words, in_faster_form
from dcnrun.export.formats import ExportedModule
from dcnrun.export.quantization import Calibration
from dcnrun.export.targets import TARGETS, Settings, Target
from dcnrun.export.verification import MaskAgreement, agreement, images_per_second, resized
from dcnrun.runs import CheckpointChoice
from dcnrun.tasks.registry import task_of
from dcnrun.training.trained_run import load_trained_run


def export_run(
    run: Path,
    out: Path,
    which: CheckpointChoice = CheckpointChoice.best,
    target: Target = Target.onnx,
    settings: Settings | None = None,
    overrides: Sequence[str] = (),
    *,
    limit: int = 100,
    licence: str = UNKNOWN,
    calibration_images: int = 100,
    max_drop: float = 1.0,
) -> dict[str, Any]:
    """Write a run's network as a file; print and return its inputs, outputs and comparison with PyTorch.

    Args:
        run: the run folder.
        out: the file to write.
        which: the run's `best` or `last` checkpoint.
        target: the kind of file.
        settings: how it is to be.
        overrides: changes of the run's config, for other data.
        limit: the most validation images that it is compared on.
        licence: what the file says of the licence of its weights.
        calibration_images: the most training images from which the ranges of 8-bit numbers are measured.
        max_drop: the most points of the run's metric that a file in 8 bits may score below PyTorch.
    """
    settings, traits = settings or Settings(), TARGETS[target]
    settings.require(target)
    traits.require_installed()
    traits.load().check(settings)
    trained = load_trained_run(run, which, overrides)
    config = trained.config
    if isinstance(config.model, DetectionModelConfig):
        found = export_detector(trained, out, which, target, settings, limit=limit, licence=licence)
        return {"run": str(run), **found}
    if not isinstance(config.model, MaskModelConfig):
        raise UsageError(
            f"{run} is a run of model={config.model.head}: `dcnrun export` writes networks for segmentation and detection only."
        )
    val_set = trained.val_set()
    network = trained.model(len(val_set.classes)).network
    sample = val_set[0]
    description = Description.of_run(trained, which, val_set.classes, sample["image"], settings, licence)
    prepared = partial(_prepared, data=config.data, description=description)
    image = prepared(sample)
    crop = config.data.crop_size if settings.any_size else 0
    to_export = Normalising(network, description) if description.normalises else network
    calibration = None
    if settings.is_quantized:
        calibration = Calibration(task_of(config.model).dataset(config.data, "train"), calibration_images, prepared)
    example = image[..., :crop, :crop] if crop else image
    asked = settings.decompose is not None
    settings, speeds = in_faster_form(to_export, example, image, target, settings, calibration or ())
    description = replace(description, decomposed=bool(settings.decompose))
    inputs = {f"validation image {sample['name']}": image}
    metadata = description.as_metadata() | ({"note": traits.note} if traits.note else {})
    if calibration is not None:
        metadata["quantization"] = _quantization_in_words(settings, calibration)
    metric = task_of(config.model).traits.metric(config)
    quantization: dict[str, Any] | None = None
    with exporting(
        to_export, example, out, target, settings, inputs=inputs, metadata=metadata, calibration=calibration or ()
    ) as export:
        agreed = agreement(
            network,
            ExportedModule(export.exported, description),
            config,
            val_set,
            limit,
            settings.size,
            export.tolerance if export.unquantized is None else math.inf,
        )
        if calibration is not None and export.unquantized is not None:
            agreed.require_quality(metric, max_drop)
            speed, speed_in_fp32 = images_per_second(
                *(partial(each.run, image) for each in (export.exported, export.unquantized))
            )
            quantization = {
                "calibration_images": len(calibration),
                "lost_points": agreed.lost_points(metric),
                "max_drop": max_drop,
                "times_the_speed_of_fp32": speed / speed_in_fp32,
            }
    result = {
        "run": str(run),
        "checkpoint": which,
        "step": trained.step,
        **export.as_dict(),
        "input": {"name": INPUT, "shape": ["batch", image.shape[1], *(settings.size or ("height", "width"))]},
        "output": {"name": OUTPUT, "shape": ["batch", len(val_set.classes), *(settings.size or ("height", "width"))]},
        "images_per_second_of_forms": {"decomposed": speeds[True], "operators": speeds[False]} if speeds else None,
        "largest_difference": max(comparison.largest_difference for comparison in export.comparisons),
        "comparisons": [vars(comparison) for comparison in export.comparisons],
        "validation": asdict(agreed),
        "quantization": quantization,
    }
    _print(result, description, export, agreed, metric)
    if quantization is not None:
        console.print(
            f"8 bits cost {quantization['lost_points']:.2f} points of {metric} (--max-drop allows {max_drop:g}), for "
            f"{quantization['times_the_speed_of_fp32']:.2f} times the images/s of the same file in fp32. It is {metadata['quantization']}.",
            soft_wrap=True,
        )
    if speeds:
        console.print(form_in_words(settings, speeds, asked), soft_wrap=True)
    return result


def _prepared(sample: Sample, data: DataConfig, description: Description) -> Tensor:
    """Return a sample's image (1, C, H, W) as the file takes it, with the size of evaluation unless the file has one."""
    if description.size is not None:
        data, sample = replace(data, eval_short_side=0), resized(sample, description.size)
    image = evaluation_transform(data)(sample).image[None]
    return description.pixels(image) if description.normalises else image


def _quantization_in_words(settings: Settings, calibration: Calibration) -> str:
    deformable = "computed in 8 bits but for the sampling" if settings.quantize_deformable else "in fp32"
    return (
        f"int8, by onnxruntime's static quantization with ranges from {len(calibration)} training images; deformable layers and what "
        f"predicts their offsets are {deformable}"
    )


def _print(
    result: dict[str, Any], description: Description, export: Export, agreed: MaskAgreement, metric: str
) -> None:
    input_shape, output_shape = (f"({', '.join(map(str, result[end]['shape']))})" for end in ("input", "output"))
    lines = [
        f"{', '.join(result['files'])}: {result['bytes'] / 2**20:.1f} MiB",
        f"{INPUT}: {description.input_type} {input_shape}, {description.input_values} mean {list(description.mean)}, std {list(description.std)}",
        f"{OUTPUT}: float32 {output_shape}, logits of {printable(', '.join(description.classes))}",
    ]
    if loading := TARGETS[export.target].loading:
        lines.append(f"It is loaded by {loading}.")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    runtime = TARGETS[export.target].runtime
    columns = "input", "shape", "offsets", "largest score", "largest difference"
    which = "" if export.unquantized is None else ": the same file in fp32"
    table = Table(*columns, title=f"{runtime} against PyTorch{which}")
    for comparison in export.comparisons:
        shape = "x".join(map(str, comparison.shape))
        numbers = f"{comparison.largest_score:.4g}", f"{comparison.largest_difference:.2g}"
        table.add_row(escape(printable(comparison.input)), shape, comparison.offsets, *numbers)
    console.print(table)
    compared = [
        ("largest difference", f"{agreed.largest_difference:.2g}", f"scores up to {agreed.largest_score:.4g}"),
        ("changed labels", f"{100 * agreed.changed_labels:.3g} % of pixels", ""),
    ]
    agreed.show(metric, export.target, compared)
