"""The command `dcnrun predict`: read, prepare, predict, write; each beside the others, a bounded number of images at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torchvision.tv_tensors import Image

from dcnrun.console import console, printable
from dcnrun.data import LabelledDataset
from dcnrun.data.pictures import shown_colours
from dcnrun.drawing.side_by_side import difference, sheet
from dcnrun.errors import DataError, ProblemsError, UsageError
from dcnrun.predict.formats import coco_objects
from dcnrun.predict.images import ImageInput, images_in, images_of
from dcnrun.predict.network import Predictor, Prepared, load_predictors
from dcnrun.predict.options import DATA, Options, check
from dcnrun.predict.results import Record, ResultFolder
from dcnrun.runs import RunFolder
from dcnrun.tasks.found import DEFAULT_SCORE, PredictionFormat
from dcnrun.training.progress import ImageProgress

_READERS = 2
_WRITERS = 2
_BATCHES_AHEAD = 2
_PIXELS_AHEAD = 2**25
"""Pixels of images beyond which no more are read, batched or left to be written: memory is bounded for large images too."""
_MOST_NAMED = 20
"""Damaged images that the report names; each is named when it is met."""
_MOST_DIFFERING = 5
"""Images on which several runs differ most that are named; differences.csv has all."""


@dataclass(frozen=True)
class _Ready:
    """An image that was read, and as each run's network takes it."""

    source: ImageInput
    image: Image
    prepared: list[Prepared]

    @property
    def pixels(self) -> int:
        """The number of them."""
        height, width = self.prepared[0].size
        return height * width


def predict(arguments: Sequence[str], overrides: Sequence[str], options: Options) -> dict[str, Any]:
    """Predict with the runs among `arguments` on the images that the others name, and write what was found.

    ProblemsError, with the report, where images could not be read: all others are predicted. Whatever ends the command, the
    same one resumes.
    """
    folders = [word for word in arguments if RunFolder(Path(word)).config_file.is_file()]
    words = [word for word in arguments if word not in folders]
    if not folders:
        given = " ".join([*arguments, *overrides])
        raise UsageError(f"{given}: none of these is a run folder. Give one that `dcnrun train` made.")
    check(words, options)
    root, images = (None, []) if DATA in words else images_in(words, options.out)
    runs = load_predictors(folders, words, overrides, options)
    datasets: dict[tuple[int, ...], LabelledDataset[Any, Any]] = {}
    for run in runs:
        if run.dataset is not None:
            datasets.setdefault(run.bands, run.dataset)
    if datasets:
        images = images_of(datasets)
    formats = _formats(runs[0], options)
    results = ResultFolder(options.out, [run.name for run in runs], formats)
    job = _Job(runs, results, _min_score(runs[0], options))
    shown = str(root or f"{DATA} {options.split or 'val'}")
    said = _description(runs, overrides, options, formats, shown) | {"categories": [*map(list, job.categories.items())]}
    with results.opened(said, runs[0].classes):
        if changed := results.forget_changed({image.key: image.stamp for image in images}):
            console.print(
                f"{changed} of {len(images)} images have changed since, and are predicted again.", markup=False
            )
        left = [image for image in images if image.key not in results.done]
        if len(left) < len(images):
            console.print(f"{len(images) - len(left)} of {len(images)} images are done already.", markup=False)
        try:
            damaged = job.run(left)
        except KeyboardInterrupt:
            kept = f"{len(results.done)} of {len(images)} images are done and kept in {results.path}"
            console.print(f"Stopped: {kept}. The same command goes on with the others.", markup=False, soft_wrap=True)
            raise
        ids = {image.key: image.image_id for image in images if image.image_id is not None}
        written = results.write_coco(job.categories, ids) if PredictionFormat.coco in formats else []
        report = _report(job, len(images), damaged)
    for path in written or [results.path]:
        console.print(f"Written: {path}", markup=False, soft_wrap=True)
    if damaged:
        raise ProblemsError(f"{len(damaged)} of {len(images)} images can't be read, and were left out.", report)
    return report


def _formats(run: Predictor, options: Options) -> tuple[PredictionFormat, ...]:
    there = run.task.traits.formats
    for wanted in options.formats:
        if wanted not in there:
            raise UsageError(
                f"--format {wanted}: {run.name} finds {run.task.traits.finds}, which are written as {', '.join(there)}."
            )
    return tuple(each for each in there if each in options.formats or not options.formats)


def _min_score(run: Predictor, options: Options) -> float:
    if options.min_score is not None and PredictionFormat.coco not in run.task.traits.formats:
        raise UsageError(
            f"--min-score {options.min_score:g}: {run.name} finds {run.task.traits.finds}, which have no scores."
        )
    return DEFAULT_SCORE if options.min_score is None else options.min_score


def _description(
    runs: Sequence[Predictor],
    overrides: Sequence[str],
    options: Options,
    formats: Sequence[PredictionFormat],
    images: str,
) -> dict[str, Any]:
    """Return all that the files depend on."""
    return {
        "runs": [run.name for run in runs],
        "checkpoints": [run.digest() for run in runs],
        "images": images,
        "formats": list(formats),
        "min_score": options.min_score,
        "tiling": options.tiling(),
        "overrides": list(overrides),
    }


@dataclass(frozen=True)
class _Job:
    """Networks, and where what they find is written."""

    runs: Sequence[Predictor]
    results: ResultFolder
    min_score: float

    @property
    def categories(self) -> dict[int, str]:
        """The classes by the ids that COCO's files have for them."""
        return {self.category_id(label): name for label, name in enumerate(self.runs[0].classes)}

    def category_id(self, label: int) -> int:
        """Return the id of a class in COCO's files: the data set's own where the images are of one."""
        dataset = self.runs[0].dataset
        return label + 1 if dataset is None else dataset.category_id(label)

    def run(self, images: Sequence[ImageInput]) -> list[str]:
        """Predict on images and write the results; return a line for each that can't be read."""
        size = self.runs[0].config.data.eval_batch_size
        damaged: list[str] = []
        with _threads(_READERS) as readers, _threads(_WRITERS) as writers, ImageProgress(len(images)) as progress:
            pending: deque[tuple[int, Future[Record]]] = deque()

            def finish(most: int) -> None:
                while len(pending) > most or sum(pixels for pixels, _ in pending) > min(most, 1) * _PIXELS_AHEAD:
                    self.results.finish_image(pending.popleft()[1].result())
                    progress.advance()

            for together in _batches(_ahead(readers, self._read, images, _BATCHES_AHEAD * size), size):
                for problem in (item for item in together if isinstance(item, DataError)):
                    progress.say(f"left out: {printable(str(problem))}")
                    damaged.append(str(problem))
                    progress.advance()
                ready = [item for item in together if isinstance(item, _Ready)]
                for one, predictions in zip(ready, self._predicted(ready), strict=True):
                    pending.append((one.pixels, writers.submit(self._write, one, predictions)))
                del together, ready  # they may be large, and the next are read meanwhile
                finish(most=_BATCHES_AHEAD * size)
            finish(most=0)
        return damaged

    def _read(self, source: ImageInput) -> _Ready | DataError:
        """Read an image and prepare it for each network."""
        try:
            images = {bands: source.read(bands) for bands in {run.bands for run in self.runs}}
            prepared = [run.prepared(images[run.bands], source.key) for run in self.runs]
        except DataError as error:
            return error
        return _Ready(source, images[self.runs[0].bands], prepared)

    def _predicted(self, ready: Sequence[_Ready]) -> list[list[Any]]:
        """Return what each network says of each image."""
        found: list[dict[int, Any]] = [
            dict(run.predict([image.prepared[number] for image in ready])) for number, run in enumerate(self.runs)
        ]
        return [[of_run[index] for of_run in found] for index in range(len(ready))]

    def _write(self, ready: _Ready, predictions: Sequence[Any]) -> Record:
        """Write the files of an image, and return its record."""
        source, size = ready.source, ready.prepared[0].size
        picture = shown_colours(ready.image.numpy())
        classes = self.runs[0].classes
        every = []
        for run, prediction in zip(self.runs, predictions, strict=True):
            found = run.found(prediction, size, self.min_score)
            if run.classes != classes:
                found = found.renumbered(np.array([classes.index(name) for name in run.classes]))
            self.results.write(run.name, source.result, found, picture, classes)
            every.append(found)
        differs = 0.0
        if len(every) > 1:
            between = difference(every)
            names = [run.name for run in self.runs]
            self.results.write_sheet(source.result, sheet(picture, names, every, between, classes))
            differs = between.share
        objects = [[] if found.objects is None else coco_objects(found.objects, self.category_id) for found in every]
        return {
            "image": source.key,
            "file_name": source.file_name,
            "stamp": source.stamp,
            "result": source.result,
            "size": list(size),
            "objects": objects,
            "differs": differs,
        }


def _report(job: _Job, images: int, damaged: Sequence[str]) -> dict[str, Any]:
    """Say what there is now, of this and earlier calls, and return it."""
    counts = [0] * len(job.runs)
    for record in job.results.records():
        for number, objects in enumerate(record["objects"]):
            counts[number] += len(objects)
    done = len(job.results.done)
    for run, count in zip(job.runs, counts, strict=True):
        found = (
            ""
            if PredictionFormat.coco not in run.task.traits.formats
            else f": {count} objects that score {job.min_score:g} or more"
        )
        console.print(f"{run.name}: {done} images{found}", markup=False, soft_wrap=True)
    differing = job.results.write_differences()[:_MOST_DIFFERING] if len(job.runs) > 1 else []
    for image, share in differing:
        console.print(f"they differ on {100 * share:.1f} %: {printable(image)}", markup=False, soft_wrap=True)
    return {
        "differing": [{"image": image, "share": share} for image, share in differing],
        "out": str(job.results.path),
        "images": images,
        "done": done,
        "damaged": list(damaged[:_MOST_NAMED]),
        "objects": dict(zip((run.name for run in job.runs), counts, strict=True)),
        "runs": [{"name": run.name, "checkpoint": str(run.checkpoint), "step": run.step} for run in job.runs],
    }


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads beside the network, each of which computes on one CPU; what they have not begun is dropped when an error ends all."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(
    pool: ThreadPoolExecutor, read: Callable[[ImageInput], _Ready | DataError], images: Sequence[ImageInput], most: int
) -> Iterator[_Ready | DataError]:
    """Yield what is read of each image, in order; a pool reads at most so many ahead, and fewer large ones."""
    waiting: deque[Future[_Ready | DataError]] = deque()
    for image in images:
        waiting.append(pool.submit(read, image))
        while len(waiting) > most or (
            waiting and _pixels(each.result() for each in waiting if each.done()) > _PIXELS_AHEAD
        ):
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _batches(read: Iterator[_Ready | DataError], most: int) -> Iterator[list[_Ready | DataError]]:
    """Yield so many at a time, and fewer large ones."""
    together: list[_Ready | DataError] = []
    for item in read:
        together.append(item)
        if len(together) == most or _pixels(together) > _PIXELS_AHEAD:
            yield together
            together = []
    if together:
        yield together


def _pixels(read: Iterable[_Ready | DataError]) -> int:
    return sum(item.pixels for item in read if isinstance(item, _Ready))
