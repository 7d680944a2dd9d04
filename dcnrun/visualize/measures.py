"""Measure what a trained run does with its offsets, over the images of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from dcnrun.config.schema import CONV_TRAITS
from dcnrun.console import console
from dcnrun.data.sample import even_indices
from dcnrun.errors import UsageError
from dcnrun.offsets.layers import Layer
from dcnrun.offsets.objects import Objects, SizeClass, Thresholds
from dcnrun.offsets.statistics.correlation import Correlation
from dcnrun.offsets.statistics.effective_dilation import DilationStatistics, ObjectDilations, Spread, plain_dilation
from dcnrun.offsets.statistics.health import HealthStatistics, LayerHealth
from dcnrun.runs import CheckpointChoice, RunFolder
from dcnrun.visualize.advice import layer_warnings
from dcnrun.visualize.load import LoadedRun, load_run

_SIZE = "offset_abs/"
_OUTSIDE = "offset_outside/"


@dataclass(frozen=True)
class History:
    """What a run logged about one layer's offsets while it trained, at each logged step (see `dcnrun.training.monitor`)."""

    step: tuple[int, ...]
    offset_abs: tuple[float, ...]
    """Mean absolute value of the offsets' components, in pixels of the feature map, on a training batch."""
    offset_outside: tuple[float, ...]
    """Share of the sampling points outside the feature map, including those of the plain grid."""


def read_histories(folder: RunFolder) -> dict[str, History]:
    """Return the histories by the layers' names, none if none were logged; incomplete lines are left out."""
    points: dict[str, dict[int, tuple[float, float]]] = {}
    for record in folder.read_metrics():
        for key, size in record.values.items():
            name = key.removeprefix(_SIZE)
            if name != key and _OUTSIDE + name in record.values:
                points.setdefault(name, {})[record.step] = size, record.values[_OUTSIDE + name]
    return {
        name: History(*zip(*((step, *values) for step, values in sorted(by_step.items())), strict=True))
        for name, by_step in points.items()
    }


@dataclass(frozen=True)
class LayerMeasures:
    """The measures of one layer under comparison."""

    name: str
    kernel_size: tuple[int, int]
    dilation: tuple[int, int]
    plain: float
    """Effective dilation without offsets."""
    spreads: dict[SizeClass, Spread]
    """Effective dilation by the size of the object that a filter belongs to."""
    per_object: ObjectDilations
    correlation: Correlation
    """Rank correlation of the objects' size and effective dilation."""
    health: LayerHealth | None
    """None for a plain convolution."""
    history: History | None
    """None if the run did not log it."""
    warnings: list[str]


@dataclass(frozen=True)
class Measures:
    """The measures of one run over the images of a data set; layers in the order in which they run."""

    run: str
    checkpoint: str
    step: int
    conv: str
    images: tuple[str, ...]
    """Names of the images that were measured."""
    objects: int
    objects_from: str
    thresholds: Thresholds
    layers: tuple[LayerMeasures, ...]


def measure_run(
    run: Path,
    which: CheckpointChoice = CheckpointChoice.best,
    overrides: Sequence[str] = (),
    limit: int | None = None,
    thresholds: Thresholds | None = None,
) -> Measures:
    """Measure a checkpoint of a run on its validation images. A standard or dilated run gives its layers' plain dilation.

    Args:
        run: the run folder.
        which: `best` or `last`.
        overrides: changes to the run's config, for other data.
        limit: the most images, spread evenly over the data set; None for all.
        thresholds: the areas that divide small, medium and large objects; by default COCO's.
    """
    return measure(load_run(run, which, overrides), limit, thresholds)


def measure(run: LoadedRun, limit: int | None = None, thresholds: Thresholds | None = None) -> Measures:
    """Measure a loaded run; the other arguments are those of `measure_run`."""
    if not run.layers:
        layers = run.config.conv.layers
        raise UsageError(f"{run.folder.path} compares no layer (conv.layers={layers}): there is nothing to measure.")
    if limit is not None and limit < 1:
        raise UsageError(f"{limit} images can't be measured: take at least 1.")
    images = len(run.dataset.names)
    indices = even_indices(images, images if limit is None else limit)
    thresholds = thresholds or Thresholds()
    gathered: dict[str, _LayerStatistics] = {}
    names, objects = [], 0
    for index in track(indices, "Measuring offsets", console=console, transient=True, disable=not console.is_terminal):
        example = run.dataset[index]
        names.append(example.name)
        objects += len(example.objects.boxes)
        for layer in run.capture(example.image).layers:
            if layer.deformable or layer.name in run.layers:
                own = gathered.setdefault(layer.name, _LayerStatistics(layer, thresholds))
                own.add(layer, example.objects)
    histories = read_histories(run.folder)
    offset_lr_mult = 1.0 if run.config.optim.offset_lr_mult is None else run.config.optim.offset_lr_mult
    has_kernel = CONV_TRAITS[run.config.conv.kind].has_kernel
    return Measures(
        run=str(run.folder.path),
        checkpoint=run.checkpoint,
        step=run.step,
        conv=run.config.conv.kind.value,
        images=tuple(names),
        objects=objects,
        objects_from=run.dataset.objects_from,
        thresholds=thresholds,
        layers=tuple(own.result(histories.get(name), offset_lr_mult, has_kernel) for name, own in gathered.items()),
    )


class _LayerStatistics:
    """Accumulates all statistics of one layer."""

    def __init__(self, layer: Layer, thresholds: Thresholds) -> None:
        self._first = layer
        self._dilation = DilationStatistics(plain_dilation(layer), thresholds)
        self._health = HealthStatistics(layer) if layer.deformable else None

    def add(self, layer: Layer, objects: Objects) -> None:
        self._dilation.add(layer, objects)
        if self._health is not None:
            self._health.add(layer)

    def result(self, history: History | None, offset_lr_mult: float, has_kernel: bool) -> LayerMeasures:
        per_object = self._dilation.per_object()
        health = None if self._health is None else self._health.result()
        return LayerMeasures(
            name=self._first.name,
            kernel_size=self._first.kernel_size,
            dilation=self._first.dilation,
            plain=self._dilation.plain,
            spreads={size: self._dilation.spread(size) for size in SizeClass},
            per_object=per_object,
            correlation=per_object.correlation(),
            health=health,
            history=history,
            warnings=[] if health is None else layer_warnings(health, offset_lr_mult, has_kernel),
        )
