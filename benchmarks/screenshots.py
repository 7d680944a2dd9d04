"""Pictures of what a user sees, in headless Chromium: the page of `visualize-offsets`, a sheet of `predict`, a sheet of training.

python -m benchmarks.screenshots benchmarks/results/screenshots

The sheets are of two networks that train for 100 steps (a minute on two CPU cores). Offsets and regions on the page are made up, so that
only the page is shown. Needs chromium and chromium-driver.
"""

import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dcnrun.config.compose import compose
from dcnrun.data import build_box_dataset
from dcnrun.data.pictures import shown_colours
from dcnrun.offsets.layers import RoIs
from dcnrun.predict.command import predict
from dcnrun.predict.options import Options
from dcnrun.training.run import train
from dcnrun.visualize.viewer.page import PageImage, PageObject, PageRun, write_page
from tests.browser import Browser
from tests.visualize.viewer.factories import three_layers

SHORT = [*(f"trainer.{name}=100" for name in ("steps", "eval_every", "save_every")), "data.val_images=10"]
RUNS = {"standard": ["conv=standard"], "deformable": ["conv=deformable", "optim.offset_lr_mult=0.1"]}
SIDE = 192  # pixels of the page's image
BINS = 7
COLOURS = 128  # of a picture, which keeps its file small


@dataclass(frozen=True)
class View:
    """A file in a window, and what is done to it before the picture is taken."""

    name: str
    file: Path
    width: int
    scheme: str
    keys: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        return 800 if self.width > 600 else 1300


def views(page: Path, found: Path, sheet: Path) -> Iterator[View]:
    points, bins = ("o", "o", "c", "c", "+", "+"), ("b", "o", "o", "+", "+", "+")
    yield View("offsets-points", page, 1280, "light", points)
    yield View("offsets-bins", page, 1280, "dark", bins)
    yield View("offsets-bins", page, 390, "light", bins)
    yield View("offsets-points", page, 390, "dark", points)
    yield View("predict", found, 1280, "light")
    yield View("training", sheet, 1280, "light")


def trained(folder: Path) -> tuple[Path, Path]:
    """Train and predict; return a sheet of several runs, and a sheet of training."""
    runs = []
    for name, own in RUNS.items():
        overrides = ["experiment=quick", *SHORT, *own]
        train(compose(overrides), overrides, folder / name)
        runs.append(str(folder / name))
    predict([*runs, "data"], [], Options(out=folder / "found"))
    first = min((folder / "found" / "side-by-side").iterdir())
    (sheet,) = (folder / "deformable" / "pictures").iterdir()
    return first, sheet


def made_up_page(path: Path) -> Path:
    """Write the page of a run whose points and bins move and of one whose do not, on an image of the built-in data."""
    dataset = build_box_dataset(compose(["experiment=shapes_boxes", f"data.image_size={SIDE}"]).data, "val")
    sample = dataset[0]
    objects = [
        PageObject(dataset.classes[label], box)
        for label, box in zip(sample["labels"].tolist(), sample["boxes"].tolist(), strict=True)
    ]
    runs = []
    for name, moves in (("align", False), ("deformable", True)):
        capture = three_layers(1, groups=2 if moves else 1, side=SIDE, deformable=moves, masked=moves)
        for layer in capture.layers:
            layer.offset.mul_(0.3)
        pools = [rois_near(sample["boxes"], 0.08 if moves else 0.0)]
        runs.append(
            PageRun(name, [PageImage("val-000000", shown_colours(sample["image"].numpy()), capture, objects, pools)])
        )
    write_page(path, runs)
    return path


def rois_near(boxes: torch.Tensor, moves: float) -> RoIs:
    """Return a region near each box, whose bins move by such a share of its sides."""
    random = np.random.default_rng(0)
    sides = (boxes[:, 2:] - boxes[:, :2]).double()
    near = boxes.double() - 0.5 + torch.tensor(random.normal(0, 0.05, boxes.shape)) * sides.repeat(1, 2)
    size = (near[:, 2:] - near[:, :2]).flip(1)
    shares = (torch.arange(BINS) + 0.5) / BINS
    plain = (
        near[:, None, None, [1, 0]]
        + torch.stack(torch.meshgrid(shares, shares, indexing="ij"), -1) * size[:, None, None]
    )
    moved = plain + moves * torch.tensor(random.normal(0, 1, plain.shape)) * size[:, None, None]
    mask = torch.tensor(random.uniform(0, 1, plain.shape[:-1]), dtype=torch.float32) if moves else None
    return RoIs("roi_heads.box_roi_pool", near, moved, plain, size / BINS, mask)


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        sys.exit("no chromium and chromedriver: apt-get install chromium chromium-driver")
    browser = Browser(*programs, profile)
    try:
        yield browser
    finally:
        browser.quit()


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as parent, chromium(Path(parent) / "profile") as browser:
        folder = Path(parent)
        for view in views(made_up_page(folder / "offsets.html"), *trained(folder)):
            is_phone = view.width < 600
            browser.open(view.file, width=view.width, height=view.height, phone=is_phone, scheme=view.scheme)
            browser.keys(*view.keys)
            whole = Image.open(io.BytesIO(browser.whole_page())).convert("RGB")
            top = whole.crop((0, 0, view.width, min(view.height, whole.height)))
            small = top.quantize(COLOURS, dither=Image.Dither.NONE)
            small.save(out / f"{view.name}-{view.width}-{view.scheme}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
