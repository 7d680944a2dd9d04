"""Images a second of the built-in data on one core, and of the same images read from PNG files, for scale.

    python benchmarks/shapes_speed.py benchmarks/results/shapes_speed.json

Target: 200 images of 128x128 a second with default settings. All are timed in one process, in turn, in seconds of CPU
time, so that what else the machine does counts little.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from dcnrun.bench.machine import describe
from dcnrun.config.schema import FolderConfig, ShapesConfig
from dcnrun.data import SegmentationDataset, build_dataset

IMAGES, ROUNDS = 200, 7
WARPS = (0.0, 0.3, 0.6)


def as_files(dataset: SegmentationDataset, root: Path) -> SegmentationDataset:
    """The same samples, written to a folder."""
    for kind in ("images", "masks"):
        (root / kind / "train").mkdir(parents=True)
    for index in range(len(dataset)):
        sample = dataset[index]
        Image.fromarray(sample["image"].permute(1, 2, 0).numpy()).save(root / f"images/train/{sample['name']}.png")
        Image.fromarray(sample["mask"].numpy()).save(root / f"masks/train/{sample['name']}.png")
    return build_dataset(FolderConfig(root=str(root), classes=list(dataset.classes)), "train")


def images_per_second(dataset: SegmentationDataset) -> float:
    started = time.process_time()
    for index in range(len(dataset)):
        dataset[index]
    return len(dataset) / (time.process_time() - started)


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        datasets = {
            f"shapes, warp={warp}": build_dataset(ShapesConfig(train_images=IMAGES, warp=warp), "train")
            for warp in WARPS
        }
        datasets["the same as PNG files"] = as_files(datasets[f"shapes, warp={ShapesConfig.warp}"], Path(folder))
        rates: dict[str, list[float]] = {name: [] for name in datasets}
        for _ in range(ROUNDS):
            for name, dataset in datasets.items():
                rates[name].append(images_per_second(dataset))
    result = {
        "machine": describe(),
        "image_size": ShapesConfig.image_size,
        "cores_used": 1,
        "images_per_second": {
            name: {"median": round(statistics.median(rate)), "lowest": round(min(rate)), "highest": round(max(rate))}
            for name, rate in rates.items()
        },
    }
    print(", ".join(f"{key}: {value}" for key, value in result["machine"].items()))
    for name, rate in result["images_per_second"].items():
        print(f"{name:24} {rate['median']:5} images/s ({rate['lowest']} to {rate['highest']})")
    Path(sys.argv[1]).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
