"""How often the intervals of `dcnrun compare` hold the true difference, by simulation.

    python benchmarks/interval_coverage.py --out benchmarks/results/interval_coverage.json

Simulated runs give a confusion matrix for each validation image, as real ones do. A pixel's chance of being right depends
on its class, the image, the variant, the seed, and how the variant and the run get on with this image; so runs vary by
seed and by image, in known proportions. The truth is the difference of mIoU over all seeds and all images.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from dcnrun.compare.statistics import Difference, bootstrap_interval, student_interval
from dcnrun.statistics import LEVEL
from dcnrun.tasks.segmentation.scores import ConfusionPerImage, mean_iou

Array = npt.NDArray[np.float64]

PIXELS = 4096
RESAMPLES = 1000
CLASS_LOGITS = np.array([3.0, 1.5, 1.0, 0.5])
IMAGE_DIFFICULTY = 0.7


@dataclass(frozen=True)
class World:
    """Standard deviations, on the logit scale, of what makes results differ."""

    name: str
    seed: float
    variant_and_image: float
    run_and_image: float


WORLDS = [
    World("seeds dominate", seed=0.10, variant_and_image=0.05, run_and_image=0.1),
    World("seeds and images alike", seed=0.06, variant_and_image=0.4, run_and_image=0.2),
    World("images dominate", seed=0.02, variant_and_image=0.5, run_and_image=0.2),
]


def draw_images(rng: np.random.Generator, count: int) -> tuple[npt.NDArray[np.int64], Array]:
    """Pixels of each class (count, C), of which an image may lack some, and the difficulty of each image."""
    shares = rng.gamma(0.5, size=(count, len(CLASS_LOGITS)))
    shares[:, 0] += 2
    pixels = (PIXELS * shares / shares.sum(axis=1, keepdims=True)).astype(np.int64)
    return pixels, rng.normal(0, IMAGE_DIFFICULTY, count)


def accuracy(difficulty: Array, *effects: Array | float) -> Array:
    """Chance of a right pixel, (..., N, C)."""
    logit = CLASS_LOGITS + difficulty[:, None]
    for effect in effects:
        logit = logit + effect
    return 1 / (1 + np.exp(-logit))


def spread(pixels: npt.NDArray[np.int64], hits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Confusion matrices (..., C, C): wrong pixels go to the other classes in equal parts, the rest to the next one."""
    classes = pixels.shape[-1]
    each, rest = np.divmod(pixels - hits, classes - 1)
    same = np.eye(classes, dtype=np.int64)
    return hits[..., None] * same + each[..., None] * (1 - same) + rest[..., None] * np.roll(same, 1, axis=1)


def simulate(
    rng: np.random.Generator, world: World, variant_logit: float, seeds: int, images: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Confusion matrices (S, N, C, C) of the reference, then of the variant, on the same images."""
    pixels, difficulty = draw_images(rng, images)
    for variant in (0.0, variant_logit):
        liking = rng.normal(0, world.variant_and_image, (images, 1))
        seed = rng.normal(0, world.seed, (seeds, 1, 1))
        run = rng.normal(0, world.run_and_image, (seeds, images, 1))
        chance = accuracy(difficulty, variant, liking, seed, run)
        yield spread(pixels, rng.binomial(pixels, chance))


def per_image(runs: npt.NDArray[np.int64]) -> list[ConfusionPerImage]:
    """Confusion matrices (S, N, C, C) as comparisons have them, in the order of the images."""
    names = [f"{i:06d}" for i in range(runs.shape[1])]
    classes = [str(c) for c in range(runs.shape[-1])]
    return [ConfusionPerImage(names, run, classes) for run in runs]


def true_difference(world: World, variant_logit: float) -> float:
    """Mean over seeds of the mIoU on 20,000 images, variant minus reference."""
    if variant_logit == 0:
        return 0.0
    rng = np.random.default_rng(1)
    pixels, difficulty = draw_images(rng, 20_000)
    image = rng.normal(0, np.hypot(world.variant_and_image, world.run_and_image), (len(pixels), 1))
    means = []
    for variant in (0.0, variant_logit):
        scores = []
        for seed in world.seed * stats.norm.ppf((np.arange(50) + 0.5) / 50):
            hits = pixels * accuracy(difficulty, variant, image, seed)
            total = spread(pixels.sum(axis=0), np.rint(hits.sum(axis=0)).astype(np.int64))
            scores.append(float(mean_iou(total)))
        means.append(np.mean(scores))
    return float(means[1] - means[0])


def measure(world: World, variant_logit: float, seeds: int, images: int, repeats: int) -> dict[str, object]:
    """Coverage of each interval, and what the verdict said, over repeated experiments."""
    rng = np.random.default_rng([WORLDS.index(world), round(variant_logit * 1000), seeds])
    truth = true_difference(world, variant_logit)
    held = {"bootstrap": 0, "student": 0, "both": 0}
    verdicts = {"higher": 0, "lower": 0, "not significant": 0}
    widths = []
    for _ in range(repeats):
        reference, variant = simulate(rng, world, variant_logit, seeds, images)
        each = mean_iou(variant.sum(axis=1)) - mean_iou(reference.sum(axis=1))
        bootstrap = bootstrap_interval(per_image(reference), per_image(variant), "val/miou", RESAMPLES)
        difference = Difference(
            dict(enumerate(each)), float(each.mean()), bootstrap, student_interval(each), without_images=None
        )
        for name, interval in (
            ("bootstrap", difference.bootstrap),
            ("student", difference.student),
            ("both", difference.interval),
        ):
            assert interval is not None
            held[name] += interval.low <= truth <= interval.high
        verdicts[difference.verdict] += 1
        widths.append(difference.interval.high - difference.interval.low)
    return {
        "world": world.name,
        "seeds": seeds,
        "true_difference": round(truth, 5),
        "coverage": {name: count / repeats for name, count in held.items()},
        "verdicts": {name: count / repeats for name, count in verdicts.items()},
        "median_width": round(float(np.median(widths)), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--images", type=int, default=100)
    arguments = parser.parse_args()
    started = time.perf_counter()
    rows = []
    for world in WORLDS:
        for seeds in (2, 3, 5, 10):
            for variant_logit in (0.0, 0.2):
                rows.append(measure(world, variant_logit, seeds, arguments.images, arguments.repeats))
                print(json.dumps(rows[-1]), flush=True)
    result = {
        "command": f"python benchmarks/interval_coverage.py --out {arguments.out} --repeats {arguments.repeats} "
        f"--images {arguments.images}",
        "level": LEVEL,
        "repeats": arguments.repeats,
        "images": arguments.images,
        "worlds": [asdict(world) for world in WORLDS],
        "seconds": round(time.perf_counter() - started),
        "rows": rows,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
