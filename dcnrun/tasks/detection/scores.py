"""Average precision by the rules of COCO and of Pascal VOC, of any resample of the images, from matched detections."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from dcnrun.scores import Confusion, Counts, Floats, PerImage, PrecisionRecall, order_of
from dcnrun.tasks.found import PredictionFormat
from dcnrun.tasks.traits import Metric, TaskTraits

if TYPE_CHECKING:
    from dcnrun.tasks.detection.task import Detection

Bools = npt.NDArray[np.bool_]

COCO_IOUS: Floats = np.linspace(0.5, 0.95, 10)
"""Overlaps from which a detection matches an object, in COCO's val/map."""
VOC_IOUS: Floats = np.array([0.5, 0.7])
"""And in the DCN papers' figures of Pascal VOC."""

AREAS = {
    "val/map_small": (0.0, 32.0**2, " of at most 32x32 pixels"),
    "val/map_medium": (32.0**2, 96.0**2, " of 32x32 to 96x96 pixels"),
    "val/map_large": (96.0**2, 1e10, " of at least 96x96 pixels"),
}
"""The least and the largest area, in pixels and in words, of the objects that COCO's metrics of a size look at."""

NOTHING = "nothing"
"""What an object is found as that is missed, and what a detection truly is where no object is."""

# Detections of a class times resamples, at once: what a cache holds.
_CHUNK = 200_000
# Nanoseconds on one core, measured: to add a detection up; to score a hit at one threshold.
_WORK_OF_DETECTION = 4.0
_WORK_OF_HIT = 13.0


@dataclass(frozen=True)
class Rule:
    """How a metric is computed: which matches it rests on, and what a recall (R, P) is worth.

    The average precision sums the best precision from each hit on, times the worth that the hit adds.
    """

    columns: Sequence[int]
    worth: Callable[[Floats], Floats]


def _share_of(levels: Floats) -> Callable[[Floats], Floats]:
    """The worth of a recall where precision is read at even `levels` from 0 to 1: the share of them that it reaches.

    The first hit reaches 0, since precision is no better before it.
    """

    def worth(recall: Floats) -> Floats:
        nearest = np.rint((len(levels) - 1) * recall)
        reached: Floats = nearest + (np.take(levels, nearest.astype(np.intp)) <= recall)
        return reached / len(levels)

    return worth


def _area(recall: Floats) -> Floats:
    """The worth of a recall where the average precision is the area under the curve."""
    return recall


_COCO = _share_of(np.linspace(0, 1, 101))
_VOC07 = _share_of(np.arange(11) / 10)
_FIRST_OF_VOC = len(COCO_IOUS)
COCO_RULES = {
    "val/map": Rule(range(len(COCO_IOUS)), _COCO),
    "val/map_50": Rule([0], _COCO),
    "val/map_75": Rule([5], _COCO),
}
BOX_RULES = {
    **COCO_RULES,
    "val/voc07_50": Rule([_FIRST_OF_VOC], _VOC07),
    "val/voc07_70": Rule([_FIRST_OF_VOC + 1], _VOC07),
    "val/voc12_50": Rule([_FIRST_OF_VOC], _area),
    "val/voc12_70": Rule([_FIRST_OF_VOC + 1], _area),
}


def mask_metric(of_boxes: str) -> str:
    """Return the name of the metric of masks that is as one of boxes: `val/mask_map_50` for `val/map_50`."""
    return of_boxes.replace("val/map", "val/mask_map")


class MatchesPerImage(PerImage):
    """Which detections matched objects: by COCO's rule at COCO_IOUS, for objects of any size, then by VOC's at VOC_IOUS."""

    kind = "matches"
    rules: ClassVar[Mapping[str, Rule]] = BOX_RULES
    """How each metric is computed."""
    columns: ClassVar[int] = len(COCO_IOUS) + len(VOC_IOUS)
    """The rules and IoUs by which detections are matched."""
    metrics = tuple(BOX_RULES)

    def __init__(
        self,
        names: Sequence[str],
        classes: Sequence[str],
        objects: npt.NDArray[Any],
        image: npt.NDArray[Any],
        label: npt.NDArray[Any],
        score: npt.NDArray[Any],
        matched: npt.NDArray[Any],
        ignored: npt.NDArray[Any],
        confusion: npt.NDArray[Any] | None = None,
    ) -> None:
        """Take M detections in any order; of equal scores, the earlier counts as the better.

        `objects` (N, C): how many each image has of each class, in the order of `names`, without ignored ones.
        `image`, `label`, `score` (M,): a detection's place in `names`, its class and its score.
        `matched`, `ignored` (M, columns): whether it found an object, and whether it does not count, by each rule and IoU.
        `confusion` (C + 1, C + 1): how many objects of all images were found as which class, the last standing for nothing;
        results of older runs don't say.
        """
        count = len(score)
        if (
            objects.shape != (len(names), len(classes))
            or image.shape != (count,)
            or label.shape != (count,)
            or matched.shape != (count, self.columns)
            or ignored.shape != matched.shape
        ):
            raise ValueError(f"arrays of {len(names)} images, {len(classes)} classes and {count} detections don't fit")
        if not (_are_below(len(names), image) and _are_below(len(classes), label)):
            raise ValueError("a detection is in none of the images, or of none of the classes")
        if (_sums(objects.shape, image, label, matched) > objects[..., None]).any():
            raise ValueError("more detections of an image match than it has objects")
        if confusion is not None and confusion.shape != (len(classes) + 1, len(classes) + 1):
            raise ValueError(f"a confusion matrix {confusion.shape} of {len(classes)} classes")
        super().__init__(names, classes)
        order = order_of(names)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        self.objects: Counts = objects[order].astype(np.int64)
        self.image: Counts = place[image].astype(np.int64)
        self.label: Counts = label.astype(np.int64)
        self.detection_score: Floats = score.astype(np.float64)
        self.matched: Bools = matched.astype(np.bool_)
        self.ignored: Bools = ignored.astype(np.bool_)
        self.confusion: Counts | None = None if confusion is None else confusion.astype(np.int64)

    def truth_of_class(self) -> Counts:  # noqa: D102
        objects: Counts = self.objects.sum(axis=0)
        return objects

    def confusion_matrix(self) -> Confusion | None:  # noqa: D102
        if self.confusion is None:
            return None
        return Confusion((*self.classes, NOTHING), self.confusion, "objects")

    def resampled(self, metric: str, image_counts: Counts) -> Floats:  # noqa: D102
        rule = self.rules[metric]
        longest = max((len(ranked.image) for ranked in self._ranked), default=0)
        rows = max(_CHUNK // max(longest, 1), 1)
        parts = [
            self._of_chunk(rule, image_counts[start : start + rows].astype(np.float64))
            for start in range(0, len(image_counts), rows)
        ]
        return np.concatenate(parts)

    def precision_recall(self, metric: str) -> Mapping[str, PrecisionRecall]:  # noqa: D102
        column, objects = self.rules[metric].columns[0], self.truth_of_class()
        return {
            name: ranked.precision_recall(column, int(count))
            for name, ranked, count in zip(self.classes, self._ranked, objects, strict=True)
            if count
        }

    def work(self, metric: str) -> float:  # noqa: D102
        hits = sum(len(ranked.hits[column].image) for ranked in self._ranked for column in self.rules[metric].columns)
        return _WORK_OF_DETECTION * sum(len(ranked.image) for ranked in self._ranked) + _WORK_OF_HIT * hits

    def has_same_truth(self, other: PerImage) -> bool:  # noqa: D102
        return (
            isinstance(other, MatchesPerImage)
            and other.names == self.names
            and np.array_equal(other.objects, self.objects)
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:  # noqa: D102
        return {
            "objects": self.objects.astype(np.int32),
            "image": self.image.astype(np.int32),
            "label": self.label.astype(np.int32),
            "score": self.detection_score,
            "matched": self.matched,
            "ignored": self.ignored,
            **({} if self.confusion is None else {"confusion": self.confusion}),
        }

    @cached_property
    def _ranked(self) -> list["_Ranked"]:
        """The detections of each class, best first."""
        best_first = np.argsort(-self.detection_score, kind="stable")
        of_class = [best_first[self.label[best_first] == c] for c in range(len(self.classes))]
        return [_Ranked(self.image[own], self.matched[own], self.ignored[own]) for own in of_class]

    def _of_chunk(self, rule: Rule, counts: Floats) -> Floats:
        """The mean over classes (R,) of their average precision, from the counts (R, N) of images."""
        total, present = np.zeros(len(counts)), np.zeros(len(counts))
        for c, ranked in enumerate(self._ranked):
            objects = counts @ self.objects[:, c]
            total += ranked.average_precision(rule, counts, objects)
            present += objects > 0
        mean: Floats = np.divide(total, present, out=np.full(total.shape, np.nan), where=present > 0)
        return mean


@dataclass(frozen=True)
class _Hits:
    """The P detections of a class that matched an object at one IoU, best first, and the I that don't count.

    `image` (P,) and `ignored` (I,): where they are; `stretch` (P,): the one of `_Ranked.starts` that a hit ends;
    `ignored_before` (P,): how many of those that don't count are better.
    """

    image: Counts
    stretch: Counts
    ignored: Counts
    ignored_before: Counts


class _Ranked:
    """Detections of one class, best first, as far as the last that matched an object, and the hits by each rule and IoU."""

    def __init__(self, image: Counts, matched: Bools, ignored: Bools) -> None:
        """From `image` (D,), `matched` and `ignored` (D, columns), best first."""
        ends = np.flatnonzero(matched.any(axis=1))
        self.image = image[: ends.max(initial=-1) + 1]
        self.ends = ends
        self.starts = np.concatenate([[0], ends[:-1] + 1])  # of stretches of detections that end with a hit
        self.hits = [
            _Hits(image[hits], np.searchsorted(ends, hits), image[skipped], np.searchsorted(skipped, hits))
            for hits, skipped in zip(map(np.flatnonzero, matched.T), map(np.flatnonzero, ignored.T), strict=True)
        ]

    def average_precision(self, rule: Rule, counts: Floats, objects: Floats) -> Floats:
        """Mean over IoUs (R,), from the counts (R, N) of images and of objects (R,); 0 where there is no object.

        A detection that occurs k times is k detections of equal score. Precision is needed at the last of them only: it
        rises along them if they are hits, and no recall is first reached among them if they are not.
        """
        total = np.zeros(len(counts))
        if not len(self.image):
            return total
        seen = np.add.reduceat(np.take(counts, self.image, axis=1), self.starts, axis=1).cumsum(axis=1)
        for hits in (self.hits[column] for column in rule.columns):
            right = np.take(counts, hits.image, axis=1).cumsum(axis=1)
            judged = np.take(seen, hits.stretch, axis=1)
            if len(hits.ignored):
                ignored = np.take(counts, hits.ignored, axis=1).cumsum(axis=1)
                judged -= np.take(np.pad(ignored, ((0, 0), (1, 0))), hits.ignored_before, axis=1)
            precision = right / np.maximum(judged, 1)
            best_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            worth = rule.worth(right / np.maximum(objects, 1)[:, None])
            total += (best_from_here * np.diff(worth, axis=1, prepend=0)).sum(axis=1)
        mean: Floats = total / len(rule.columns)
        return mean

    def precision_recall(self, column: int, objects: int) -> PrecisionRecall:
        """Return the curve by one rule and IoU, where there are so many objects."""
        hits = self.hits[column]
        right = np.arange(1, len(hits.image) + 1)
        precision = right / (self.ends[hits.stretch] + 1 - hits.ignored_before)
        return PrecisionRecall(right / objects, np.maximum.accumulate(precision[::-1])[::-1])


def _sums(
    shape: tuple[int, ...], image: npt.NDArray[Any], label: npt.NDArray[Any], matched: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """How many of each image and class `matched` (M, T): (N, C, T), from `shape` (N, C)."""
    place = np.ravel_multi_index((image, label), shape)
    sums = [np.bincount(place, weights=column, minlength=shape[0] * shape[1]) for column in matched.T]
    return np.stack(sums, axis=-1).reshape(*shape, -1)


def _are_below(count: int, places: npt.NDArray[Any]) -> bool:
    return bool((places >= 0).all() and (places < count).all())


def _load() -> "Detection":
    from dcnrun.tasks.detection.task import Detection

    return Detection()


DETECTION = TaskTraits(
    labels="boxes",
    finds="boxes",
    metrics=(
        Metric("val/map", "AP"),
        Metric("val/map_50", "AP50"),
        Metric("val/map_75", "AP75"),
        Metric("val/map_small", "AP of small objects"),
        Metric("val/map_medium", "AP of medium objects"),
        Metric("val/map_large", "AP of large objects"),
        Metric("val/voc07_50", "VOC07 AP at IoU 0.5"),
        Metric("val/voc07_70", "VOC07 AP at IoU 0.7"),
        Metric("val/voc12_50", "VOC12 AP at IoU 0.5"),
        Metric("val/voc12_70", "VOC12 AP at IoU 0.7"),
    ),
    per_image=MatchesPerImage,
    saves_predictions=True,
    load=_load,
    formats=(PredictionFormat.coco, PredictionFormat.yolo, PredictionFormat.overlay),
)
