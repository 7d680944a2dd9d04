"""Seconds and bytes of `dcnrun visualize-offsets` for one image of 512x512: its pictures, the arrays and the page.

    python benchmarks/visualize_offsets.py benchmarks/results/visualize_offsets.json [rounds]

Target: under 20 s on two cores, and a page under 5 MB. The network is a ResNet-18 DeepLab whose last three 3x3 layers are
deformable, with offset branches drawn at random so that taps lie between pixels; the places are the automatic ones. Each round
is the command as a user starts it, in a process of its own, with the imports; the statistics over a data set are left out
(`--limit 0`), since they take as long as the data set is large, and there are no masks, since the layers are not modulated.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from dcnrun.bench.machine import describe, describe_kernel
from dcnrun.bench.timing import quartiles_ms
from dcnrun.config.compose import compose
from dcnrun.runs import RunFolder
from dcnrun.training import checkpoint
from dcnrun.training.run import train

ROUNDS = 3
SETTINGS = ["data=shapes", "data.image_size=512", "model=deeplab", "conv=deformable", "conv.layers=3"]
ONE_STEP = [
    "trainer.steps=1",
    "data.train_images=2",
    "data.val_images=1",
    "data.batch_size=2",
    "data.workers=0",
    "trainer.pictures=0",
]
TYPICAL_OFFSET = 1.0  # pixels of the map, about what trained layers have


def trained(folder: Path) -> Path:
    """A run of one step whose offsets go somewhere."""
    every = [*SETTINGS, *ONE_STEP]
    train(compose(every), every, folder)
    path = RunFolder(folder).best_checkpoint
    state = checkpoint.load(path)
    generator = torch.Generator().manual_seed(0)
    for name, tensor in state["network"].items():
        if "offset_branch" in name and tensor.dim() > 1:
            std = TYPICAL_OFFSET * tensor[0].numel() ** -0.5
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * std)
    torch.save(state, path)
    return folder


def seconds(run: Path, out: Path) -> float:
    command = [sys.executable, "-m", "dcnrun", "visualize-offsets", str(run), "--limit", "0", "--out", str(out)]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def picture(path: Path) -> dict[str, int]:
    with Image.open(path) as opened:
        width, height = opened.size
    return {"width": width, "height": height, "bytes": path.stat().st_size}


def main() -> None:
    out_file, *more = sys.argv[1:]
    rounds = int(more[0]) if more else ROUNDS
    machine = describe() | {"kernel": describe_kernel(torch.float32)}
    with tempfile.TemporaryDirectory() as folder:
        run, out = trained(Path(folder) / "run"), Path(folder) / "out"
        seconds(run, out)  # compiles the kernel where that has not been done
        times = [seconds(run, out) for _ in range(rounds)]
        result: dict[str, Any] = {
            "machine": machine,
            "settings": SETTINGS,
            "rounds": rounds,
            "milliseconds": quartiles_ms(times),
            "slowest_milliseconds": round(1000 * max(times)),
            "page_bytes": (out / "offsets.html").stat().st_size,
            "arrays_bytes": (out / "offsets.npz").stat().st_size,
            "pictures": {path.stem: picture(path) for path in sorted(out.rglob("*.png"))},
        }
    Path(out_file).write_text(json.dumps(result, indent=1) + "\n")
    spread = result["milliseconds"]
    print(f"{spread['median'] / 1000:.1f} s ({spread['q1'] / 1000:.1f} to {spread['q3'] / 1000:.1f}), {rounds} rounds")
    print(f"page {result['page_bytes'] / 1e6:.2f} MB, {len(result['pictures'])} pictures")


if __name__ == "__main__":
    main()
