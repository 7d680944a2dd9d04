"""Run folders as training leaves them, without training."""

import dataclasses
import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
from rich.console import Console

from dcnrun.compare.grid import build_grid
from dcnrun.compare.results import VariantResult, read_finished
from dcnrun.compare.tables import terminal
from dcnrun.config.compose import compose, to_yaml
from dcnrun.runs import RunFolder
from dcnrun.scores import PerImage
from dcnrun.tasks.detection.scores import MatchesPerImage
from dcnrun.tasks.segmentation.scores import ConfusionPerImage, class_iou

CLASSES = ("background", "circle", "star")
FAKE_TRAINING = Path(__file__).with_name("fakes.py")


def confusions(seed: int, skill: float = 0.7, images: int = 12) -> np.ndarray:
    """Confusion matrices (N, C, C) of the same images for every seed and skill."""
    truth = np.random.default_rng(0).multinomial(1000, [0.7, 0.2, 0.1], size=images)
    rng = np.random.default_rng([seed, round(skill * 1e6)])
    right = np.clip(skill + rng.normal(0, 0.03, (images, 1)), 0.05, 0.98)
    hits = rng.binomial(truth, np.broadcast_to(right, truth.shape))
    matrices = np.zeros((images, 3, 3), dtype=np.int64)
    for c in range(3):
        matrices[:, c, c] = hits[:, c]
        matrices[:, c, (c + 1) % 3] = truth[:, c] - hits[:, c]
    return matrices


def per_image(matrices: np.ndarray, classes: tuple[str, ...] = CLASSES) -> ConfusionPerImage:
    """Matrices (N, C, C) as comparisons have them."""
    return ConfusionPerImage([f"val-{i:03d}" for i in range(len(matrices))], matrices, classes)


def matches(seed: int, skill: float = 0.7, images: int = 12) -> MatchesPerImage:
    """Detections of the same objects for every seed and skill, which is the share of objects that are found."""
    objects = np.random.default_rng(0).poisson(2, (images, 3))
    rng = np.random.default_rng([seed, round(skill * 1e6)])
    image, label = (
        np.repeat(axis, objects.ravel()) for axis in (np.arange(images).repeat(3), np.tile(range(3), images))
    )
    overlap = np.where(rng.random(len(image)) < skill, rng.uniform(0.5, 1, len(image)), 0)
    score = rng.normal(overlap, 0.4)
    thresholds = np.concatenate([np.linspace(0.5, 0.95, 10), [0.5, 0.7]])
    matched = overlap[:, None] >= thresholds
    return MatchesPerImage(
        [f"val-{i:03d}" for i in range(images)], CLASSES, objects, image, label, score, matched, np.zeros_like(matched)
    )


@cache
def config_of(overrides: tuple[str, ...], seed: int) -> tuple[int, str]:
    """Steps and config.yaml of a run."""
    config = dataclasses.replace(compose(overrides), seed=seed)
    return config.trainer.steps, to_yaml(config)


def write_run(
    path: Path,
    overrides: list[str],
    seed: int = 0,
    skill: float = 0.7,
    status: str = "completed",
    reason: str | None = None,
    curve: tuple[float, ...] = (),
    with_images: bool = True,
    classes: tuple[str, ...] = CLASSES,
    images: PerImage | None = None,
    metric: str = "val/miou",
    **summary: object,
) -> Path:
    """Write a run folder; `skill` is the chance of a right pixel, `curve` the score at each earlier validation.

    `images` are other results than of such pixels, and `metric` one of theirs.
    """
    steps, config = config_of(tuple(overrides), seed)
    folder, matrices = RunFolder(path), confusions(seed, skill)
    images = images or per_image(matrices, classes)
    metrics = {name: images.score(name) for name in images.metrics}
    path.mkdir(parents=True, exist_ok=True)
    folder.config_file.write_text(config)
    scores = [*curve, metrics[metric]]
    records = [
        {"step": steps * (i + 1) // len(scores), "epoch": 1.0, "split": "val", metric: score}
        for i, score in enumerate(scores)
    ]
    folder.metrics_file.write_text("".join(json.dumps(record) + "\n" for record in records))
    if with_images:
        images.save(folder.per_image_file)
    folder.write_summary(
        {
            "status": status,
            "reason": reason,
            "step": steps,
            "steps": steps,
            "seed": seed,
            "metrics": metrics if status == "completed" else {},
            "per_class": {metric: dict(zip(classes, class_iou(matrices.sum(0)).tolist(), strict=True))},
            "best": {"step": steps, metric: metrics[metric]},
            "parameters": 11_200_000,
            "flops": 1_230_000_000,
            "train_images_per_second": 41.7,
            "inference_images_per_second": 151.2,
            "peak_memory_bytes": 700 * 2**20,
            "wall_seconds": 60.0,
            "data_wait_share": 0.01,
            "device": "cpu",
            **summary,
        }
    )
    return path


def variant(tmp_path, name, overrides, seeds=(0, 1, 2), skill=0.7, **options):
    runs = [
        read_finished(write_run(tmp_path / f"{name}-{seed}", overrides, seed=seed, skill=skill, **options))
        for seed in seeds
    ]
    return VariantResult(name, runs[0].settings, tuple(runs))


def without_runs(tmp_path, name, overrides):
    settings = variant(tmp_path, name, overrides, seeds=(0,)).settings
    return VariantResult(name, settings, ())


def shown(comparison, width=80):
    console = Console(width=width, record=True, force_terminal=False)
    console.print(terminal(comparison))
    return console.export_text()


class Trainer:
    """A stand-in for `dcnrun`, what each of its runs does, and what it was called with."""

    def __init__(self, folder: Path, overrides: list[str]) -> None:
        self.folder = folder
        self.program = [sys.executable, "-S", str(FAKE_TRAINING), str(folder)]
        self.overrides = overrides
        folder.mkdir()
        self.prepare(overrides)

    def prepare(self, overrides: list[str]) -> None:
        grid = build_grid(overrides)
        for skill, variant in enumerate(grid.variants):
            for seed in grid.seeds:
                name = f"{variant.slug}-seed{seed}"
                write_run(self.folder / name, list(variant.overrides), seed, 0.6 + skill / 10)

    def does(self, run: str, action: str | None) -> None:
        file = self.folder / f"{run}.does"
        file.write_text(action) if action else file.unlink()

    def calls(self) -> list[list[str]]:
        """What it was called with since this was last asked."""
        file = self.folder / "calls.jsonl"
        calls = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        file.unlink(missing_ok=True)
        return calls
