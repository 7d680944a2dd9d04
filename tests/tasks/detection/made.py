"""Detections and objects drawn at random, with everything that scoring has a rule for."""

import numpy as np

from dcnrun.tasks.detection.results import ImageResult

CLASSES = ("tree", "house", "dog", "never there")
IDS = (7, 3, 90, 12)  # in another order than the classes


def category_id(label: int) -> int:
    return IDS[label]


def results(seed: int, images: int = 12, many: bool = False) -> list[ImageResult]:
    """Whole coordinates and coarse scores, for overlaps at the thresholds and ties; objects of all sizes.

    Some images have no object, some no detection; image ids are not in the order of the images.
    """
    rng = np.random.default_rng(seed)
    ids = 1 + rng.permutation(3 * images)[:images]
    return [_result(rng, f"image {i:03d}", int(ids[i]), many) for i in range(images)]


def _result(rng: np.random.Generator, name: str, image_id: int, many: bool) -> ImageResult:
    objects = int(rng.choice([0, 1, 3, 8]))
    there = _boxes(rng, objects)
    labels = rng.integers(0, 3, objects)
    near = there[rng.integers(0, objects, 3 * objects)] if objects else there
    near = near + rng.integers(-3, 4, near.shape) * rng.integers(0, 3, (len(near), 1))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    far = _boxes(rng, 250 if many else int(rng.integers(0, 12)))
    found = np.concatenate([near, far]) if rng.random() < 0.85 else there[:0]
    found_labels = rng.integers(0, 4, len(found)) * (rng.random(len(found)) < (0.2 if many else 0.6))
    areas = (there[:, 2:] - there[:, :2]).prod(axis=1) * rng.choice([1, 0.6], objects)
    return ImageResult(
        name=name,
        image_id=image_id,
        size=(300, 400),
        boxes=found.astype(np.float64),
        scores=rng.integers(1, 20, len(found)) / 20,
        labels=found_labels.astype(np.int64),
        object_boxes=there.astype(np.float64),
        object_labels=labels.astype(np.int64),
        object_areas=areas.astype(np.float64),
        crowd=rng.random(objects) < 0.15,
        difficult=rng.random(objects) < 0.2,
    )


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.integers(0, 200, (count, 2))
    size = np.maximum(rng.choice([8, 24, 60, 150], (count, 1)) + rng.integers(-4, 5, (count, 2)), 1)
    return np.concatenate([corner, corner + size], axis=1)
