"""Small runs, and what they logged, for every test of training."""

import json
from pathlib import Path

from dcnrun.config.compose import compose
from dcnrun.training.run import train

_TINY_RUN = [
    "data=shapes",
    "data.image_size=48",
    "data.train_images=16",
    "data.val_images=5",
    "data.batch_size=4",
    "data.eval_batch_size=2",
    "data.workers=0",
    "model.width=16",
    "trainer.steps=6",
    "trainer.log_every=1",
    "trainer.eval_every=3",
    "trainer.save_every=2",
    "trainer.threads=1",
    "trainer.pictures=0",
    "optim=sgd",
    "optim.lr=0.05",
]
TINY = [*_TINY_RUN, "model.head_channels=16", "model.output_stride=16"]
TINY_DETECTOR = [
    *_TINY_RUN,
    "model=faster_rcnn",
    "model.fpn_channels=16",
    "model.anchor_sizes=[8,16,32,64,128]",
    "model.roi_channels=16",
    "model.roi_batch=16",
    "model.proposals=20",
    "optim.lr=0.01",
    "optim.clip_norm=1.0",
]


def run(overrides: list[str], parent: Path, name: str = "run") -> Path:
    """Train, and return the run's folder."""
    train(compose(overrides), overrides, parent / name)
    return parent / name


def metrics(run: Path, split: str | None = None) -> list[dict]:
    """What a run logged, without the values that depend on the clock."""
    timed = ("train/images_per_second", "train/data_wait_share")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in timed}
        for line in lines
        if split is None or line["split"] == split
    ]


def losses(run: Path) -> list[float]:
    return [line["train/loss"] for line in metrics(run, "train")]
