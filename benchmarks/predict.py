"""Speed and memory of `dcnrun predict`: beside bare inference, over many images, and on a large image in tiles.

    python -m benchmarks.predict benchmarks/results/predict.json [speed] [memory] [tiles]

Without the names of parts all are measured; each is written to the file as it ends, beside what is there of the others. The network is a
ResNet-18 DeepLab whose last three 3x3 layers are deformable, with random weights and offsets of about a pixel.

speed: 500 images of 512x512, JPEG files, to masks and overlays, as one call; before and after it the network alone on batches of the same
images, prepared and in memory. Target: at least 0.85 of the images a second of bare inference.

memory: 5,000 images of 256x256, a network of a quarter of the width: resident memory of the process over each tenth of the images after the
first, whose allocations stay. Target: flat.

tiles: an image of 8000x8000 in tiles of 1024 that share 128, a network of a quarter of the width: the peak of resident memory, target under
4 GiB; and, on an image of 2048x1536, the share of pixels whose class is that of the whole image.
"""

import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image

from dcnrun.bench.machine import describe, describe_kernel
from dcnrun.config.compose import compose, to_yaml
from dcnrun.predict.command import predict
from dcnrun.predict.images import images_in
from dcnrun.predict.network import Predictor, load_predictors
from dcnrun.predict.options import Options
from dcnrun.runs import RunFolder, write_json, write_text
from dcnrun.tasks.build import build_model
from dcnrun.training.checkpoint import save_best

SETTINGS = ["data=shapes", "model=deeplab", "model.output_stride=16", "conv=deformable", "conv.layers=3"]
CLASSES = 8
SIDE, MEMORY_SIDE, BATCH = 512, 256, 8
SPEED_IMAGES, BARE_IMAGES = 500, 96
MEMORY_IMAGES, TENTHS = 5_000, 10
LARGE, TILE, OVERLAP = 8_000, 1024, 128
COMPARED = (1536, 2048)
_FILES = 100  # of different content; more images are links to these
_SECONDS_BETWEEN_LOOKS = 0.2


def saved_run(folder: Path, width: int) -> Path:
    """Write a run with random weights; its offset branches give offsets of about a pixel."""
    config = compose([*SETTINGS, f"model.width={width}"])
    torch.manual_seed(0)
    network = build_model(config, CLASSES).network
    for name, parameter in network.named_parameters():
        if "offset_branch" in name and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    run = RunFolder(folder)
    write_text(run.config_file, to_yaml(config))
    save_best(run, {"step": 0, "network": network.state_dict(), "classes": [f"class {i}" for i in range(CLASSES)]})
    return folder


def picture(path: Path, size: tuple[int, int], seed: int) -> None:
    """Write a JPEG file with structure of all scales, as photographs have."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((*size, 3))
    for cells in (4, 16, 64, 256):
        coarse = (255 * random.random((cells, cells, 3))).astype(np.uint8)
        pixels += np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BILINEAR))
    Image.fromarray((pixels / 4).astype(np.uint8)).save(path, quality=90)


def folder_of(parent: Path, count: int, side: int) -> Path:
    """Make a folder of so many square images."""
    parent.mkdir()
    for number in range(count):
        path = parent / f"{number:05d}.jpg"
        if number < _FILES:
            picture(path, (side, side), number)
        else:
            path.hardlink_to(parent / f"{number % _FILES:05d}.jpg")
    return parent


def bare_seconds(run: Predictor, folder: Path) -> float:
    """Return the seconds of the network alone for an image, in batches of images that were prepared before."""
    _, images = images_in([str(folder)], folder / "out")
    batches = []
    for start in range(0, BARE_IMAGES, BATCH):
        read = [run.prepared(image.read(run.bands), image.key) for image in images[start : start + BATCH]]
        batches.append(run.batch(read))
    with torch.inference_mode(), run.fabric.autocast():
        run.task.predict(run.network, batches[0])
        started = time.perf_counter()
        for batch in batches:
            run.task.predict(run.network, batch)
        return (time.perf_counter() - started) / BARE_IMAGES


def speed(folder: Path) -> dict[str, Any]:
    run, photos, out = saved_run(folder / "run", 64), folder_of(folder / "photos", SPEED_IMAGES, SIDE), folder / "out"
    (network,) = load_predictors([str(run)], [str(photos)], [], Options(out, batch=BATCH))
    before = bare_seconds(network, photos)
    started = time.perf_counter()
    predict([str(run), str(photos)], [], Options(out, batch=BATCH))
    of_predict = (time.perf_counter() - started) / SPEED_IMAGES
    bare = statistics.mean([before, bare_seconds(network, photos)])
    return {
        "images": SPEED_IMAGES,
        "bare_images_per_second": round(1 / bare, 2),
        "predict_images_per_second": round(1 / of_predict, 2),
        "ratio": round(bare / of_predict, 3),
    }


class Watch:
    """The resident memory of this process as time goes on."""

    def __init__(self) -> None:
        self.bytes: list[int] = []
        self.over = threading.Event()

    def look(self) -> None:
        process = psutil.Process()
        while not self.over.wait(_SECONDS_BETWEEN_LOOKS):
            self.bytes.append(process.memory_info().rss)


@contextmanager
def watched() -> Iterator[Watch]:
    watch = Watch()
    thread = threading.Thread(target=watch.look)
    thread.start()
    try:
        yield watch
    finally:
        watch.over.set()
        thread.join()


def memory(folder: Path) -> dict[str, Any]:
    run, photos = saved_run(folder / "run", 16), folder_of(folder / "photos", MEMORY_IMAGES, MEMORY_SIDE)
    started = time.perf_counter()
    with watched() as watch:
        predict([str(run), str(photos)], [], Options(folder / "out", batch=BATCH))
    seconds = time.perf_counter() - started
    of_tenths = [mib(float(np.median(part))) for part in np.array_split(watch.bytes, TENTHS)]
    return {
        "images": MEMORY_IMAGES,
        "images_per_second": round(MEMORY_IMAGES / seconds, 1),
        "median_mib_of_each_tenth": of_tenths,
        "growth_mib_from_second_to_last_tenth": round(of_tenths[-1] - of_tenths[1], 1),
        "peak_mib": mib(max(watch.bytes)),
    }


def tiles(folder: Path) -> dict[str, Any]:
    run, large, small = saved_run(folder / "run", 16), folder / "large.jpg", folder / "small.jpg"
    picture(large, (LARGE, LARGE), 0)
    picture(small, COMPARED, 1)
    started = time.perf_counter()
    with watched() as watch:
        predict([str(run), str(large)], [], Options(folder / "out", tile=TILE, overlap=OVERLAP))
    seconds = time.perf_counter() - started
    predict([str(run), str(small)], [], Options(folder / "tiled", tile=TILE, overlap=OVERLAP))
    predict([str(run), str(small)], [], Options(folder / "whole"))
    tiled, whole = (np.asarray(Image.open(folder / of / "masks" / "small.png")) for of in ("tiled", "whole"))
    return {
        "pixels": [LARGE, LARGE],
        "tile": TILE,
        "overlap": OVERLAP,
        "seconds": round(seconds, 1),
        "peak_mib": mib(max(watch.bytes)),
        "compared_pixels": list(COMPARED),
        "share_as_whole": round(float((tiled == whole).mean()), 5),
    }


def mib(count: float) -> float:
    return round(count / 2**20, 1)


PARTS = {"speed": speed, "memory": memory, "tiles": tiles}


def measured(part: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return PARTS[part](Path(folder))


def main() -> None:
    file, *wanted = sys.argv[1:]
    path = Path(file)
    result = json.loads(path.read_text()) if path.is_file() else {}
    for part in wanted or PARTS:
        with get_context("spawn").Pool(1) as alone:  # so that memory is of this part only
            result[part] = alone.apply(measured, (part,))
        result |= {"machine": describe() | {"kernel": describe_kernel(torch.float32)}, "settings": SETTINGS}
        write_json(path, result)
        print(part, json.dumps(result[part], indent=2), flush=True)


if __name__ == "__main__":
    main()
