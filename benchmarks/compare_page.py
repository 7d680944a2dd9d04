"""Pictures of a comparison's page in headless Chromium, wide and narrow, light and dark: from made-up runs, so that only the page is shown.

python -m benchmarks.compare_page benchmarks/results/compare_page

Needs chromium and chromium-driver.
"""

import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from dcnrun.compare.page import PAGE_NAME, write_comparison
from dcnrun.compare.results import VariantResult, compare, read_finished
from dcnrun.runs import RunFolder
from tests.browser import Browser
from tests.compare.factories import write_run

VARIANTS = {
    "standard": (["conv=standard"], 0.66),
    "dilated 2": (["conv=dilated", "conv.dilation=2"], 0.67),
    "dilated 4": (["conv=dilated", "conv.dilation=4"], 0.64),
    "deformable": (["conv=deformable"], 0.71),
    "modulated": (["conv=modulated"], 0.72),
}
VIEWS = (
    (1280, 1500, False, "light"),
    (1280, 1500, False, "dark"),
    (390, 1700, True, "light"),
    (390, 1700, True, "dark"),
)
COLOURS = 96  # of a picture, which keeps its file small


def made_up_run(folder: Path, overrides: list[str], skill: float, place: int, seed: int) -> None:
    rng = np.random.default_rng([place, seed])
    rises = (skill - 0.2) * (1 - np.exp(-np.arange(1, 25) / 5)) + rng.normal(0, 0.01, 24)
    write_run(
        folder,
        overrides,
        seed,
        skill + rng.normal(0, 0.008),
        curve=tuple(map(float, rises)),
        flops=1.0e9 * (1 + 0.09 * place),
        inference_images_per_second=310.0 - 18 * place,
        train_images_per_second=96.0 - 4 * place,
    )
    losses = 0.4 + 1.2 * np.exp(-np.arange(1, 51) / 12) - 0.3 * skill + rng.normal(0, 0.02, 50)
    lines = [
        json.dumps({"step": 20 * i, "split": "train", "train/loss": loss}) for i, loss in enumerate(losses, start=1)
    ]
    file = RunFolder(folder).metrics_file
    file.write_text("\n".join(lines) + "\n" + file.read_text())
    RunFolder(folder).write_summary(RunFolder(folder).read_summary())


def made_up_comparison(folder: Path) -> Path:
    variants = []
    for place, (name, (overrides, skill)) in enumerate(VARIANTS.items()):
        paths = [folder / f"{place}-{seed}" for seed in range(3)]
        for seed, path in enumerate(paths):
            made_up_run(path, overrides, skill, place, seed)
        runs = tuple(map(read_finished, paths))
        variants.append(VariantResult(name, runs[0].settings, runs))
    write_comparison(compare(variants), folder / PAGE_NAME)
    return folder / PAGE_NAME


def main(out: Path) -> None:
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        sys.exit("no chromium and chromedriver: apt-get install chromium chromium-driver")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        page = made_up_comparison(Path(folder))
        browser = Browser(chromium, chromedriver, Path(folder) / "profile")
        try:
            for width, height, phone, scheme in VIEWS:
                browser.open(page, width=width, phone=phone, scheme=scheme)
                browser.settled()
                whole = Image.open(io.BytesIO(browser.whole_page())).convert("RGB")
                small = whole.crop((0, 0, width, height)).quantize(COLOURS, dither=Image.Dither.NONE)
                small.save(out / f"{width}-{scheme}.png", optimize=True)
        finally:
            browser.quit()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
