"""The command `dcnrun visualize-offsets`: from trained runs and images to pictures, the page, arrays and statistics."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from matplotlib.figure import Figure
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from rich.text import Text
from torch import Tensor

from dcnrun.config.inactive import has_roi_offset_branch, settings_of
from dcnrun.config.messages import did_you_mean
from dcnrun.console import console, printable
from dcnrun.errors import UsageError
from dcnrun.offsets.arrays import write_arrays
from dcnrun.offsets.grid import Pair
from dcnrun.offsets.layers import Capture
from dcnrun.offsets.receptive_field import receptive_fields
from dcnrun.plotting import save_png
from dcnrun.runs import RunFolder, write_json
from dcnrun.training.loggers import wandb_is_off
from dcnrun.visualize import outputs
from dcnrun.visualize.dataset import Example
from dcnrun.visualize.image_sources import denormalised, image_sources, require_same, size_warning
from dcnrun.visualize.load import LoadedRun, load_run
from dcnrun.visualize.measures import measure
from dcnrun.visualize.options import Options
from dcnrun.visualize.pictures.feature_maps import plot_masks, plot_offset_flow
from dcnrun.visualize.pictures.panels import COMPRESS_LEVEL, Picture, short_layer
from dcnrun.visualize.pictures.points import plot_sampling_points
from dcnrun.visualize.pictures.receptive_fields import CIRCLES, MeasuredField, plot_receptive_fields
from dcnrun.visualize.pictures.regions import plot_regions
from dcnrun.visualize.pictures.sizes import plot_sizes
from dcnrun.visualize.query_points import QueryPoint, query_points
from dcnrun.visualize.report import as_dict, tables, write_measures
from dcnrun.visualize.viewer.page import PageImage, PageObject, PageRun, write_page
from dcnrun.visualize.wandb_upload import log_to_wandb

MOST_LAYERS = 3
"""The number of layers that are drawn if none are named: the last ones."""
_MOST_FOLDERS = 5  # that are named in a line


@dataclass(frozen=True)
class _Run:
    """A run, its name in all pictures, and the folder of its own files."""

    name: str
    loaded: LoadedRun
    layers: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class _ShownImage:
    """One image, and what each run's network did with it."""

    name: str
    folder: str
    picture: Picture
    examples: Mapping[str, Example]
    captures: Mapping[str, Capture]
    query_points: Sequence[QueryPoint]
    fields: Mapping[str, Sequence[MeasuredField]]
    """Receptive fields of the last drawn layer, in the order of the query points, of the runs that compare layers."""


def visualize_offsets(arguments: Sequence[str], overrides: Sequence[str], options: Options) -> dict[str, Any]:
    """Show where trained runs look: draw and measure, print the measures, return all numbers.

    The run folders among `arguments` are the runs; the others are image files, directories of images or names of validation
    images. All runs are shown on the same images.
    """
    run_folders = [word for word in arguments if RunFolder(Path(word)).config_file.is_file()]
    if not run_folders:
        words = " ".join([*arguments, *overrides])
        raise UsageError(f"{words}: none of these is a run folder. Give one that `dcnrun train` made.")
    out = outputs.writable_folder(options.out or RunFolder(Path(run_folders[0])).figures / "offsets")
    runs = _load(run_folders, overrides, options, out)
    images = list(_inspect(runs, [word for word in arguments if word not in run_folders], options.at))
    with_layers = [run for run in runs if run.layers]  # the others only learn where to pool regions
    _warn_of_guessed_grids(with_layers, images)
    stale_folders = _clear(out, runs, images)
    pictures = dict(_draw_images(runs, images, out))
    for run in runs:
        write_arrays({image.name: image.captures[run.name] for image in images}, run.folder / "offsets.npz")
    page = out / "offsets.html" if options.page else None
    if page:
        with_pools = any(_moves_regions(run.loaded) for run in runs)
        write_page(page, [PageRun(run.name, [_page_image(run, image, with_pools) for image in images]) for run in runs])
    fields = [row for image in images for row in _field_rows(image)]
    write_json(out / "receptive_fields.json", fields)
    measures = {run.name: measure(run.loaded, limit=options.limit) for run in with_layers} if options.limit else {}
    if measures:
        pictures[None, "sizes"] = _save(plot_sizes(measures), out / "sizes.png")
    if fields:
        console.print(_field_table(fields))
    for run in with_layers if measures else ():
        write_measures(measures[run.name], run.folder)
        console.print(tables(measures[run.name]))
    _print_location(out, page, stale_folders)
    for run in runs:
        if run.loaded.config.logger.wandb and not wandb_is_off():
            own = {title: path for (shown, title), path in pictures.items() if shown in (None, run.name)}
            log_to_wandb(run.loaded, measures.get(run.name), own)
    return {
        "out": str(out),
        "page": page and str(page),
        "images": [image.name for image in images],
        "pictures": {
            f"{run}/{title}" if run and len(runs) > 1 else title: str(path) for (run, title), path in pictures.items()
        },
        "receptive_fields": fields,
        "runs": [as_dict(of_run) for of_run in measures.values()],
    }


# Runs.


def _load(folders: Sequence[str], overrides: Sequence[str], options: Options, out: Path) -> list[_Run]:
    names = outputs.unique_names([Path(folder).resolve().name for folder in folders])
    loaded = [load_run(Path(folder), options.checkpoint, overrides) for folder in folders]
    return [
        _Run(name, run, _layers(run, options.layers), out if len(folders) == 1 else out / folder_name)
        for name, run, folder_name in zip(names, loaded, outputs.folder_names(names), strict=True)
    ]


def _layers(run: LoadedRun, requested: Sequence[str]) -> tuple[str, ...]:
    """Return the layers of a run to draw: the requested ones, with or without `backbone.`, or the last ones.

    A run that only learns where to pool regions has none; UsageError if it does not learn that either.
    """
    if not run.layers:
        nothing = f"{run.folder.path} compares no layer (conv.layers={run.config.conv.layers})"
        if requested or not _moves_regions(run):
            raise UsageError(f"{nothing}: there is nothing to show. Give another run.")
        console.print(f"{nothing}: shown are the regions that it pools.", markup=False, soft_wrap=True)
        return ()
    if not requested:
        if len(run.layers) > MOST_LAYERS:
            console.print(f"Drawn are the last {MOST_LAYERS} of {len(run.layers)} layers; --layer chooses others.")
        return run.layers[-MOST_LAYERS:]
    by_short_name = {name.removeprefix("backbone."): name for name in run.layers}
    found = []
    for name in requested:
        short = name.removeprefix("backbone.")
        if short not in by_short_name:
            suggestion = did_you_mean(short, by_short_name) or f"; it has {', '.join(by_short_name)}"
            raise UsageError(f"--layer {name}: {run.folder.path} compares no such layer{suggestion}")
        found.append(by_short_name[short])
    return tuple(name for name in run.layers if name in found)


def _moves_regions(run: LoadedRun) -> bool:
    """Return whether a run learns where to pool regions."""
    return has_roi_offset_branch(settings_of(run.config))


# Images.


def _inspect(runs: Sequence[_Run], words: Sequence[str], at: Sequence[Pair]) -> Iterator[_ShownImage]:
    """Yield each image that the words name, with what the networks do with it."""
    chosen = image_sources(words, runs[0].loaded.dataset.names)
    names = outputs.unique_names([source.name for source in chosen])
    for source, name, folder in _track(list(zip(chosen, names, outputs.folder_names(names), strict=True)), "Looking"):
        examples = {run.name: source.example(run.loaded) for run in runs}
        pictures = {run.name: denormalised(examples[run.name], run.loaded.config.data) for run in runs}
        require_same(name, examples, pictures)
        if source.file and (warning := size_warning(examples[runs[0].name], runs[0].loaded.dataset[0])):
            _warn(warning)
        points = query_points(name, examples[runs[0].name].objects, at)
        captures = {run.name: run.loaded.capture(examples[run.name].image) for run in runs}
        fields = {
            run.name: _fields(run, examples[run.name].image, captures[run.name], points) for run in runs if run.layers
        }
        yield _ShownImage(name, folder, pictures[runs[0].name], examples, captures, points, fields)


def _fields(run: _Run, image: Tensor, capture: Capture, points: Sequence[QueryPoint]) -> list[MeasuredField]:
    layer = capture.layer(run.layers[-1])
    found = receptive_fields(run.loaded.network, image, layer.name, [point.output_pixel(layer) for point in points])
    return [MeasuredField.of(field) for field in found]


def _field_rows(image: _ShownImage) -> Iterator[dict[str, Any]]:
    for run, of_run in image.fields.items():
        for point, measured in zip(image.query_points, of_run, strict=True):
            radii = {f"radius_{100 * fraction:.0f}": radius for fraction, radius in measured.radii.items()}
            yield {"image": image.name, "run": run, "place": point.label, "y": point.y, "x": point.x, **radii}


def _warn_of_guessed_grids(runs: Sequence[_Run], images: Sequence[_ShownImage]) -> None:
    """Warn if pictures may be wrong: of layers that come after an operation that is not known."""
    for run in runs:
        layers = images[0].captures[run.name].layers
        if guessed := [layer.name for layer in layers if not layer.input_grid.exact]:
            _warn(
                f"{run.name}: an operation before {guessed[0]} is not known here, so its feature map is taken to span the image. "
                f"The points of {len(guessed)} of {len(layers)} layers may be drawn beside where they read."
            )


# What is written.


def _clear(out: Path, runs: Sequence[_Run], images: Sequence[_ShownImage]) -> list[str]:
    """Delete stale outputs where this call writes; return the other folders with some, relative to `out`."""
    results = {out, *(run.folder for run in runs)}
    views = {parent / image.folder for parent in results for image in images}
    outputs.delete_stale_outputs(results, views)
    return sorted(
        str(folder.relative_to(out)) for folder in outputs.folders_with_stale_outputs(results, results | views)
    )


def _draw_images(
    runs: Sequence[_Run], images: Sequence[_ShownImage], out: Path
) -> Iterator[tuple[tuple[str | None, str], Path]]:
    """Draw and yield pictures: the run that each shows, None for all runs, and its title; and its file."""
    for image in _track(images, "Drawing"):
        for run in runs:
            for view, figure in _views(run, image):
                path = _save(figure, run.folder / image.folder / f"{view}.png")
                yield (run.name, f"{image.name}/{view}"), path
        if image.fields:
            layer = " and ".join(dict.fromkeys(short_layer(run.layers[-1]) for run in runs if run.layers))
            figure = plot_receptive_fields(f"{image.name}, {layer}", image.picture, image.query_points, image.fields)
            path = _save(figure, out / image.folder / "receptive_field.png")
            yield (None, f"{image.name}/receptive_field"), path


def _views(run: _Run, image: _ShownImage) -> Iterator[tuple[str, Figure]]:
    """Yield the pictures of one run alone."""
    title = f"{image.name}, {run.name}"
    capture = image.captures[run.name]
    layers = [capture.layer(name) for name in run.layers]
    if layers:
        yield "points", plot_sampling_points(title, image.picture, capture, run.layers, image.query_points)
    if figure := plot_offset_flow(title, image.picture, layers):
        yield "flow", figure
    if figure := plot_masks(title, image.picture, layers):
        yield "masks", figure
    for rois in capture.rois if _moves_regions(run.loaded) else ():
        if figure := plot_regions(title, image.picture, rois, image.query_points):
            yield f"regions-{rois.name.replace(':', '-')}", figure


def _save(figure: Figure, path: Path) -> Path:
    return save_png(figure, path, COMPRESS_LEVEL)


def _page_image(run: _Run, image: _ShownImage, with_pools: bool) -> PageImage:
    """Return an image for the page; `with_pools`: with the bins of RoI pooling, also of a run whose own do not move."""
    objects = image.examples[run.name].objects
    boxes = [PageObject(name, box) for name, box in zip(objects.classes, objects.boxes.tolist(), strict=True)]
    capture = image.captures[run.name]
    return PageImage(image.name, image.picture, capture, boxes, capture.rois if with_pools else ())


def _print_location(out: Path, page: Path | None, stale_folders: Sequence[str]) -> None:
    if stale_folders:
        named, more = ", ".join(stale_folders[:_MOST_FOLDERS]), len(stale_folders) - _MOST_FOLDERS
        and_more = f" and {more} more" if more > 0 else ""
        console.print(f"{out} holds results of earlier calls too: {named}{and_more}.", markup=False, soft_wrap=True)
    size = f" ({page.stat().st_size / 1e6:.1f} MB)" if page else ""
    console.print(f"Written: {page or out}{size}", markup=False, soft_wrap=True)


def _warn(line: str) -> None:
    console.print(Text(f"Warning: {printable(line)}", style="yellow"), soft_wrap=True)


_Item = TypeVar("_Item")


def _track(items: Sequence[_Item], what: str) -> Iterable[_Item]:
    """Yield the items, with a progress bar on a terminal."""
    return track(items, what, console=console, transient=True, disable=not console.is_terminal)


def _field_table(fields: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(
        title="Effective receptive fields", caption="Radii that hold 50 and 90 % of the gradient, image pixels."
    )
    for column in ("image", "query point", "run"):
        table.add_column(column, overflow="fold")
    for fraction in CIRCLES:
        table.add_column(f"{100 * fraction:.0f} %", justify="right")
    for row in sorted(fields, key=lambda row: (row["image"], row["place"])):
        words = (escape(printable(row[column])) for column in ("image", "place", "run"))
        table.add_row(*words, *(f"{row[f'radius_{100 * fraction:.0f}']:.0f}" for fraction in CIRCLES))
    return table
