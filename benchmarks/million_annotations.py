"""Seconds and memory for a COCO file of a million annotations: `data check`, the start of training, and pycocotools' COCO.

    python benchmarks/million_annotations.py benchmarks/results/million_annotations.json [rounds [annotations]]

Target: `data check` without images and the start of training under 30 s and 2 GiB each on two cores, and the file read and
indexed at least twice as fast as by `pycocotools.coco.COCO`. Each round runs every command in turn in a process of its own. The
file is drawn with a fixed seed: ten objects to an image of 96x64, each with a box, area and class, half of them with a polygon of 4
to 20 points. The images have one colour each and are never the same. Seconds are those of whole processes, with imports, and of
reading by itself; memory is the most of a process and its workers at any time (proportional set size).
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from typing import Any

import numpy as np
import psutil
from PIL import Image

from dcnrun.bench.machine import describe

ROUNDS = 3
ANNOTATIONS = 1_000_000
PER_IMAGE = 10
CLASSES = 80
WIDTH, HEIGHT = 96, 64
PAUSE = 0.1

READ = """
import sys, time
from dcnrun.config.schema import CocoConfig
from dcnrun.data.coco import CocoDataset
started = time.perf_counter()
CocoDataset(CocoConfig(root=sys.argv[1], annotations="SPLIT.json", images="images", train="all"), "train")
print(time.perf_counter() - started)
"""
REFERENCE = """
import sys, time
from pycocotools.coco import COCO
started = time.perf_counter()
COCO(sys.argv[1] + "/all.json")
print(time.perf_counter() - started)
"""


def objects(count: int) -> Iterator[dict[str, Any]]:
    """Draw annotations."""
    random = np.random.default_rng(0)
    corners = random.uniform(0, (WIDTH - 8, HEIGHT - 8), (count, 2)).round(2).tolist()
    sides = random.uniform(2, 8, (count, 2)).round(2).tolist()
    classes, points = random.integers(1, CLASSES + 1, count).tolist(), random.integers(4, 21, count).tolist()
    for number in range(count):
        (x, y), (width, height) = corners[number], sides[number]
        turns = np.linspace(0, 2 * np.pi, points[number], endpoint=False)
        outline = np.stack([x + width / 2 * (1 + np.cos(turns)), y + height / 2 * (1 + np.sin(turns))], 1)
        yield {
            "id": number + 1,
            "image_id": number // PER_IMAGE + 1,
            "category_id": classes[number],
            "segmentation": [outline.round(2).ravel().tolist()] if number % 2 else [],
            "area": round(width * height, 2),
            "bbox": [x, y, width, height],
            "iscrowd": 0,
        }


def write(root: Path, count: int) -> Path:
    """Write the data set; return its file."""
    images = []
    (root / "images").mkdir(parents=True)
    for number in range(1, count // PER_IMAGE + 1):
        name = f"{number:012}.png"
        Image.new("RGB", (WIDTH, HEIGHT), tuple(number.to_bytes(3, "big"))).save(
            root / "images" / name, compress_level=1
        )
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
    categories = [{"id": number, "name": f"class {number}"} for number in range(1, CLASSES + 1)]
    file = root / "all.json"
    file.write_text(json.dumps({"images": images, "annotations": list(objects(count)), "categories": categories}))
    return file


def measured(command: list[str]) -> dict[str, float]:
    """Run a command; return its seconds, those that it prints last, and its peak of memory in GiB."""
    started, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as output, subprocess.Popen(command, stdout=output) as process:
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(PAUSE)
        seconds = time.perf_counter() - started
        output.seek(0)
        lines = output.read().splitlines()
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}: {lines[-5:]}")
    inside = {"read_s": float(lines[-1])} if "-c" in command else {}
    return {"seconds": seconds, "peak_gib": peak / 2**30, **inside}


def memory(pid: int) -> int:
    """Return the bytes that a process and those below it hold."""
    try:
        process = psutil.Process(pid)
        return sum(one.memory_full_info().pss for one in [process, *process.children(recursive=True)])
    except psutil.Error:
        return 0


def spread(values: list[float]) -> dict[str, float]:
    """Return the median and quartiles."""
    q1, median, q3 = quantiles(values, n=4) if len(values) > 1 else values * 3
    return {"median": round(median, 3), "q1": round(q1, 3), "q3": round(q3, 3)}


def main() -> None:
    out, *more = sys.argv[1:]
    rounds = int(more[0]) if more else ROUNDS
    count = int(more[1]) if more[1:] else ANNOTATIONS
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        file = write(root, count)
        settings = [f"data.root={root}", "data.annotations=SPLIT.json", "data.images=images", "data.train=all"]
        settings = ["data=coco", *settings, "data.val_share=0.01"]
        dcnrun = [sys.executable, "-m", "dcnrun"]
        commands = {
            "data check --no-images": [*dcnrun, "data", "check", *settings, "--no-images"],
            "data check --samples 0": [*dcnrun, "data", "check", *settings, "--samples", "0"],
            "start of training": [
                *dcnrun,
                "train",
                *settings,
                "model=faster_rcnn",
                "model.backbone=resnet18",
                "--dry-run",
            ],
            "reading": [sys.executable, "-c", READ, str(root)],
            "pycocotools": [sys.executable, "-c", REFERENCE, str(root)],
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                found[name].append(measured(command))
                print(name, found[name][-1], flush=True)
        size = file.stat().st_size
    result = {
        "machine": describe(),
        "commit": subprocess.run(["git", "describe", "--always"], capture_output=True, text=True).stdout.strip(),
        "annotations": count,
        "images": count // PER_IMAGE,
        "file_bytes": size,
        "rounds": rounds,
        **{name: {key: spread([values[key] for values in times]) for key in times[0]} for name, times in found.items()},
    }
    result["pycocotools / reading"] = spread(
        [there["read_s"] / here["read_s"] for there, here in zip(found["pycocotools"], found["reading"], strict=True)]
    )
    Path(out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
