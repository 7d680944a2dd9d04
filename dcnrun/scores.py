"""Scores as people read them, and results on each validation image: what a score of all images, or of a resample of them, is computed from.

Each task has a subclass in its `scores.py`. NumPy only: comparisons of finished runs import no torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import isnan
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from dcnrun.runs import read_bytes, replacing

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def in_percent(score: float, sign: Literal["-", "+"] = "-") -> str:
    """Format a score from 0 to 1 for people, where the unit is said beside it: 0.7123 is `71.2`; `sign` as in format()."""
    return f"{round(100 * score, 1) + 0.0:{sign}.1f}"  # + 0.0: never -0.0


def as_percent(score: float | None) -> str:
    """Format a score from 0 to 1 for people, with its unit: 0.7123 is `71.2 %`; `-` where it is none or not a number."""
    return "-" if score is None or isnan(score) else f"{in_percent(score)} %"


@dataclass(frozen=True)
class Confusion:
    """What was taken for what: `counts[i, j]` of what truly is `names[i]` was predicted to be `names[j]`."""

    names: tuple[str, ...]
    counts: Counts
    """(len(names), len(names))"""
    unit: str
    """What is counted, such as `pixels`."""


@dataclass(frozen=True)
class PrecisionRecall:
    """The best precision from each of P recalls on, by rising recall, as average precision is computed of it."""

    recall: Floats
    precision: Floats

    def at(self, recalls: Floats) -> Floats:
        """Return the best precision at each recall or beyond; 0 beyond the last that is reached."""
        reached = np.searchsorted(self.recall, recalls - 1e-12)
        found: Floats = np.append(self.precision, 0.0)[reached]
        return found


_IMAGES_AT_ONCE = 256


class PerImage(ABC):
    """One run's results on N validation images, in the order of their sorted names."""

    kind: ClassVar[str]
    """What tells the kinds of results apart in files."""

    metrics: ClassVar[tuple[str, ...]]
    """What they determine, by name."""

    names: tuple[str, ...]
    classes: tuple[str, ...]

    def __init__(self, names: Sequence[str], classes: Sequence[str]) -> None:
        self.names = tuple(sorted(names))
        self.classes = tuple(classes)
        self._alone: dict[str, Floats] = {}

    def score(self, metric: str) -> float:
        """The metric of all images; KeyError for one that is not in `metrics`."""
        return float(self.resampled(metric, np.ones((1, len(self.names)), dtype=np.int64))[0])

    def by_image(self, metric: str) -> Floats:
        """Return the metric (N,) of each image alone; NaN for an image with nothing to score."""
        if metric not in self._alone:
            count = len(self.names)
            starts = range(0, count, _IMAGES_AT_ONCE)
            parts = [
                self.resampled(metric, np.eye(min(_IMAGES_AT_ONCE, count - start), count, start, np.int64))
                for start in starts
            ]
            self._alone[metric] = np.concatenate(parts)
        return self._alone[metric]

    def worst_images(self, metric: str, most: int) -> list[tuple[str, float]]:
        """Return the names and scores of the images with the lowest scores, the worst first, without those that have none."""
        scores = self.by_image(metric)
        order = [i for i in np.argsort(scores, kind="stable") if not isnan(scores[i])]
        return [(self.names[i], float(scores[i])) for i in order[:most]]

    def confusion_matrix(self) -> Confusion | None:
        """Return what was taken for what in all images; None where the results don't tell."""
        return None

    def precision_recall(self, metric: str) -> Mapping[str, PrecisionRecall]:
        """Return the curve of each class that there is, at the first overlap that a metric looks at; none for a metric that has no curves."""
        return {}

    @property
    def absent_classes(self) -> tuple[str, ...]:
        """Classes that no image has: whether a network finds them, the scores can't tell."""
        return tuple(name for name, amount in zip(self.classes, self.truth_of_class(), strict=True) if not amount)

    @abstractmethod
    def truth_of_class(self) -> Counts:
        """How much of each class (C,) there is to find in all images, in pixels or objects."""

    @abstractmethod
    def resampled(self, metric: str, image_counts: Counts) -> Floats:
        """The metric (R,) of the sets in which image i occurs `image_counts[r, i]` times, from (R, N) counts.

        NaN where a set has nothing to score. KeyError for a metric that is not in `metrics`.
        """

    @abstractmethod
    def work(self, metric: str) -> float:
        """What one resample costs: operations of which one core does a thousand million in a second, or more."""

    @abstractmethod
    def has_same_truth(self, other: "PerImage") -> bool:
        """Whether both are results on images of the same names with the same truth, as far as the results show it."""

    @abstractmethod
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The results as arrays, without names and classes."""

    def save(self, path: Path) -> None:
        """Write them as an .npz file without pickled objects, which `load` reads; RunError on a full disk."""
        content: dict[str, Any] = {"kind": self.kind, "names": self.names, "classes": self.classes, **self.arrays()}
        with replacing(path) as beside, beside.open("wb") as file:
            np.savez_compressed(file, **content)

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read what `save` wrote; None where the file is missing, damaged or of something else.

        Files of runs from before there were several kinds do not say theirs.
        """
        try:
            with np.load(BytesIO(read_bytes(path)), allow_pickle=False) as file:
                content: dict[str, Any] = dict(file)
            named = content.pop("names"), content.pop("classes")
            if any(array.ndim != 1 or array.dtype.kind != "U" for array in named):
                return None
            names, classes = ([str(name) for name in array] for array in named)
            if content.pop("kind", cls.kind) != cls.kind or not len(set(names)) == len(names) > 0:
                return None
            if not all(array.dtype.kind in "biuf" and np.isfinite(array).all() for array in content.values()):
                return None
            return cls(names=names, classes=classes, **content)
        except Exception:  # a damaged archive fails in many ways
            return None


def order_of(names: Sequence[str]) -> npt.NDArray[np.intp]:
    """The places of the sorted names in `names`."""
    return np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.intp)
