"""Commands that read a trained run: `dcnrun evaluate`, `predict`, `export` and `visualize-offsets`."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from dcnrun.cli.imports import kept_imports
from dcnrun.cli.options import Checkpoint, Device, Json, Overrides, split_overrides
from dcnrun.errors import UsageError
from dcnrun.export.targets import Precision, Settings, Target, parse_size, target_of
from dcnrun.predict.options import RunSplit
from dcnrun.runs import CheckpointChoice
from dcnrun.tasks.found import PredictionFormat


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="The run's folder; left out where --model names a file.")
    ] = None,
    overrides: Overrides = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Score an exported file in place of a run, in the file's own runtime."),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="The file may run code of its own, as .pt2 files do: you know who made it.")
    ] = False,
    checkpoint: Checkpoint = CheckpointChoice.best,
    save_predictions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the detections here, as a COCO result file (JSON).")
    ] = None,
    errors: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write what it gets wrong here: confusion matrix, scores of classes and sizes, precision and recall, the worst images.",
        ),
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Evaluate a run, or a file that was exported, again, perhaps on other data.

    For example: dcnrun evaluate runs/20250101-120000-dilated-nuclei --checkpoint last,
    or: dcnrun evaluate --model model.onnx data.root=photos
    """
    if model is None and run is None:
        raise UsageError("Give a run's folder, or --model with an exported file.")
    if save_predictions is not None:
        _require_writable(save_predictions.absolute().parent, f"--save-predictions {save_predictions}")
    if errors is not None:
        _require_writable(errors.absolute(), f"--errors {errors}")
    if model is not None:
        # What stands first is taken for a run's folder.
        changes = [*([] if run is None else [str(run)]), *(overrides or [])]
        if run is not None and ("=" not in str(run) or run.is_dir()):
            raise UsageError(f"{run} and --model {model}: give a run's folder or an exported file, not both.")
        if checkpoint is not CheckpointChoice.best:
            raise UsageError(f"--checkpoint is of a run: {model} holds the weights of one checkpoint.")
        with kept_imports():
            from dcnrun.export.evaluate import evaluate_file

        return evaluate_file(model, changes, save_predictions, errors, trust)
    if trust:
        raise UsageError("--trust is for --model: no code is read from a run's folder.")
    assert run is not None
    with kept_imports():
        from dcnrun.training.evaluate import evaluate as evaluate_run

    return evaluate_run(run, checkpoint, overrides or [], save_predictions, errors)


def _require_writable(folder: Path, option: str) -> None:
    """Raise UsageError before the work is done where a folder that is there, or is to be made, can't be written to."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        why = "can't be written to" if there.is_dir() else "is no folder"
        raise UsageError(f"{option} can't be written: {there} {why}.")


def predict(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|IMAGE|FOLDER|data|OVERRIDE",
            help="Folders of trained runs; image files, folders of images, or the word data for the images of the run's data set; "
            "settings that differ (data.root=...).",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where all is written.")],
    formats: Annotated[
        list[PredictionFormat] | None,
        typer.Option(
            "--format", help="What is written, once or more; by default all that there is for what the network finds."
        ),
    ] = None,
    split: Annotated[RunSplit | None, typer.Option(help="Which images `data` stands for; by default val.")] = None,
    checkpoint: Checkpoint = CheckpointChoice.best,
    min_score: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Leave out objects that score less; by default 0.5.", show_default=False),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="The most images, or tiles, that a network sees at once; by default data.eval_batch_size."
        ),
    ] = None,
    device: Annotated[Device | None, typer.Option(help="By default as the run's settings say.")] = None,
    tile: Annotated[
        int | None,
        typer.Option(min=32, help="Cut larger images into tiles of so many pixels a side; by default none is cut."),
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(min=0, help="The pixels that neighbouring tiles share; by default 128.")
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Write what trained networks find in images: masks, overlays, COCO's and YOLO's files.

    What is done already is skipped. For example: dcnrun predict runs/20250101-120000-deformable-nuclei photos --out found
    """
    with kept_imports():
        from dcnrun.predict.command import predict as predict_images
        from dcnrun.predict.options import Options

    overrides, runs_and_images = split_overrides(arguments)
    return predict_images(
        runs_and_images,
        overrides,
        Options(
            out=out,
            formats=tuple(formats or ()),
            split=split,
            checkpoint=checkpoint,
            min_score=min_score,
            batch=batch,
            device=device,
            tile=tile,
            overlap=overlap,
        ),
    )


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")],
    overrides: Overrides = None,
    to: Annotated[
        Target | None, typer.Option(help="The kind of file; by default by the name of --out, or ONNX.")
    ] = None,
    checkpoint: Checkpoint = CheckpointChoice.best,
    opset: Annotated[
        int | None, typer.Option(help="Version of the ONNX standard: 19, the default, or later.", show_default=False)
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Fix height and width in pixels; by default any will do.")
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Numbers of the weights: fp32, the default, or fp16 (ONNX computes in it too); int8: quantized after training.",
            show_default=False,
        ),
    ] = None,
    quantize_deformable: Annotated[
        bool,
        typer.Option(
            "--quantize-deformable",
            help="With int8: offset branches, and convolutions of samples, in 8 bits too; the sampling never is.",
        ),
    ] = False,
    calibration_images: Annotated[
        int,
        typer.Option(
            min=1,
            help="With int8: the most training images that ranges of numbers are measured on, evenly over the set.",
        ),
    ] = 100,
    max_drop: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="POINTS",
            help="With int8: how far the file may score below PyTorch; beyond, none is written.",
        ),
    ] = 1.0,
    decompose: Annotated[
        bool | None,
        typer.Option(
            "--decompose/--no-decompose",
            help="Write deformable layers as GridSample and convolutions, for readers without DeformConv; by default not in ONNX, "
            "and in OpenVINO's IR where that is faster here.",
            show_default=False,
        ),
    ] = None,
    with_preprocessing: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing", help="The network normalises what it is given: pixels as they are, not resized."
        ),
    ] = False,
    limit: Annotated[
        int,
        typer.Option(
            min=1, help="The most validation images that the file is compared with PyTorch on, evenly over the set."
        ),
    ] = 100,
    licence: Annotated[
        str, typer.Option(metavar="TEXT", help="What the file says of the licence of its weights.")
    ] = "unknown",
    as_json: Json = False,
) -> dict[str, Any]:
    """Write a run's network as a file for another runtime.

    It is compared with PyTorch in that runtime first, and written only if they agree.
    For example: dcnrun export runs/20250101-120000-deformable-nuclei --out model.onnx
    """
    target = target_of(out, to)
    settings = Settings(
        opset=opset,
        size=None if size is None else parse_size(size),
        precision=precision,
        with_preprocessing=with_preprocessing,
        decompose=decompose,
        quantize_deformable=quantize_deformable,
    )
    settings.require(target)
    with kept_imports():
        from dcnrun.export.run import export_run

    return export_run(
        run,
        out,
        checkpoint,
        target,
        settings,
        overrides or [],
        limit=limit,
        licence=licence,
        calibration_images=calibration_images,
        max_drop=max_drop,
    )


def visualize_offsets(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|IMAGE|OVERRIDE",
            help="Folders of trained runs; image files, directories of images or names of validation images (by default a "
            "few of those); settings that differ (data.root=...).",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where all is written; by default figures/offsets in the first run's folder."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="Y,X",
            help="A query point on the images, in pixels as the network sees them, once or more; by default one on an object of "
            "each size and one on background.",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A layer to draw, once or more; by default the last three.")
    ] = None,
    checkpoint: Checkpoint = CheckpointChoice.best,
    limit: Annotated[
        int, typer.Option(min=0, help="The most validation images for the statistics; 0: no statistics.")
    ] = 200,
    no_page: Annotated[bool, typer.Option("--no-page", help="Write no page to explore.")] = False,
    as_json: Json = False,
) -> dict[str, Any]:
    """Show where networks with deformable convolution look: pictures, a page to explore, statistics.

    For example: dcnrun visualize-offsets runs/20250101-120000-deformable-nuclei photo.jpg
    """
    with kept_imports():
        from dcnrun.visualize.command import visualize_offsets as show
        from dcnrun.visualize.options import Options, parse_query_point

    overrides, runs_and_images = split_overrides(arguments)
    return show(
        runs_and_images,
        overrides,
        Options(
            out=out,
            at=tuple(parse_query_point(point) for point in at or []),
            layers=tuple(layer or []),
            checkpoint=checkpoint,
            limit=limit,
            page=not no_page,
        ),
    )
