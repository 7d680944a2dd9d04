"""Pictures of a comparison's page in headless Chromium, wide and narrow, light and dark: from made-up runs, so that only the page is shown.

python -m benchmarks.compare_page benchmarks/results/compare_page

Needs chromium and chromium-driver.
"""

import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from dcnrun.compare.image_scores import image_scores
from dcnrun.compare.page import PAGE_NAME, write_comparison
from dcnrun.compare.pictures import Pictures, title_of
from dcnrun.compare.results import Comparison, VariantResult, compare, read_finished
from dcnrun.config.compose import compose
from dcnrun.data.pictures import shown_colours
from dcnrun.runs import RunFolder
from dcnrun.scores import PerImage
from dcnrun.tasks.found import Found
from dcnrun.tasks.registry import task_of
from dcnrun.training.pictures import Look
from dcnrun.training.side_by_side import draw_image
from tests.browser import Browser
from tests.compare.factories import confusions, matches, per_image, write_run

VARIANTS = {
    "standard": (["conv=standard"], 0.66),
    "dilated 2": (["conv=dilated", "conv.dilation=2"], 0.67),
    "dilated 4": (["conv=dilated", "conv.dilation=4"], 0.64),
    "deformable": (["conv=deformable"], 0.71),
    "modulated": (["conv=modulated"], 0.72),
}
VIEWS = (
    (1280, False, "light"),
    (1280, False, "dark"),
    (390, True, "light"),
    (390, True, "dark"),
)
TALLEST = {1280: 1500, 390: 1700}
COLOURS = 96  # of a picture, which keeps its file small
IMAGES = 3  # that are drawn


@dataclass(frozen=True)
class Shown:
    """A page of runs of one task, and which of its parts are taken: by the words that a part's heading begins with, the top by none."""

    name: str
    overrides: list[str]
    metric: str
    parts: dict[str, str]


PAGES = (
    Shown("masks", ["data=shapes"], "val/miou", {"": "", "images-": "Images"}),
    Shown(
        "boxes",
        ["data=shapes", "model=faster_rcnn"],
        "val/map_50",
        {"confusion-": "What was taken", "boxes-": "Images"},
    ),
)


def made_up_results(shown: Shown, skill: float, seed: int) -> PerImage:
    if shown.name == "masks":
        return per_image(confusions(seed, skill))
    results = matches(seed, skill)
    objects = results.truth_of_class()
    confused = np.zeros((4, 4), np.int64)
    for c, count in enumerate(objects):
        found = round(skill * count)
        confused[c, c], confused[c, (c + 1) % 3], confused[c, 3] = found, (count - found) // 2, (count - found + 1) // 2
    confused[3, :3] = np.random.default_rng(seed).poisson(3, 3)
    results.confusion = confused
    return results


def made_up_run(shown: Shown, folder: Path, overrides: list[str], skill: float, place: int, seed: int) -> None:
    rng = np.random.default_rng([place, seed])
    rises = (skill - 0.2) * (1 - np.exp(-np.arange(1, 25) / 5)) + rng.normal(0, 0.01, 24)
    write_run(
        folder,
        [*overrides, *shown.overrides],
        seed,
        images=made_up_results(shown, skill + rng.normal(0, 0.008), seed),
        metric=shown.metric,
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


def made_up_find(truth: Found, skill: float, rng: np.random.Generator) -> Found:
    """What a network might find: masks that are moved a little, objects of which some are missed or of another class."""
    if truth.classes is not None:
        moved = np.roll(truth.classes, rng.integers(-6, 7, 2), (0, 1))
        moved[:, : int(rng.uniform(0, 1 - skill) * moved.shape[1])] = 0
        return replace(truth, classes=moved)
    objects = truth.objects
    assert objects is not None
    kept = rng.random(len(objects)) < skill + 0.1
    labels = np.where(rng.random(len(objects)) < 0.15, (objects.labels + 1) % 7, objects.labels)
    boxes = objects.boxes + rng.normal(0, 3, objects.boxes.shape)
    found = replace(objects, boxes=boxes[kept], labels=labels[kept], scores=rng.uniform(0.5, 1, kept.sum()))
    return replace(truth, objects=found)


def made_up_pictures(shown: Shown, comparison: Comparison) -> Pictures:
    config = compose([*shown.overrides, "data.image_size=160", f"data.val_images={IMAGES}"])
    task = task_of(config.model)
    dataset = task.dataset(config.data, "val")
    scores = image_scores(comparison)
    assert not isinstance(scores, str)
    drawn = []
    for index, image in enumerate(scores.furthest_apart(IMAGES)):
        (truth,) = task.truth(task.samples.evaluation(config.data).batch_of_one(dataset[index], index))
        picture = shown_colours(dataset[index]["image"].numpy())
        looks = [
            Look(picture, truth, made_up_find(truth, skill, np.random.default_rng([index, place])))
            for place, (_, skill) in enumerate(VARIANTS.values())
        ]
        titles = [f"{title_of(comparison, place)}, seed 0" for place in range(len(VARIANTS))]
        drawn.append(draw_image(scores.names[image], titles, looks, tuple(dataset.classes)))
    return Pictures(drawn)


def made_up_comparison(shown: Shown, folder: Path) -> Path:
    variants = []
    for place, (name, (overrides, skill)) in enumerate(VARIANTS.items()):
        paths = [folder / f"{place}-{seed}" for seed in range(3)]
        for seed, path in enumerate(paths):
            made_up_run(shown, path, overrides, skill, place, seed)
        runs = tuple(map(read_finished, paths))
        variants.append(VariantResult(name, runs[0].settings, runs))
    comparison = compare(variants)
    write_comparison(comparison, folder / PAGE_NAME, made_up_pictures(shown, comparison))
    return folder / PAGE_NAME


def views(browser: Browser, shown: Shown, page: Path) -> Iterator[tuple[str, Image.Image]]:
    """Yield the name and the picture of each part in each view."""
    top = """const heading = [...document.querySelectorAll("h2")].find((e) => e.textContent.startsWith(arguments[0]));
        return arguments[0] ? heading.closest("section").getBoundingClientRect().top + scrollY : 0"""
    for width, phone, scheme in VIEWS:
        browser.open(page, width=width, height=900, phone=phone, scheme=scheme)
        browser.settled()
        whole = Image.open(io.BytesIO(browser.whole_page())).convert("RGB")
        for beginning, heading in shown.parts.items():
            start = round(browser.run(top, heading))
            end = min(start + TALLEST[width], whole.height)
            yield f"{beginning}{width}-{scheme}", whole.crop((0, start, width, end))


def main(out: Path) -> None:
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        sys.exit("no chromium and chromedriver: apt-get install chromium chromium-driver")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(chromium, chromedriver, Path(folder) / "profile")
        try:
            for shown in PAGES:
                page = made_up_comparison(shown, Path(folder) / shown.name)
                for name, picture in views(browser, shown, page):
                    small = picture.quantize(COLOURS, dither=Image.Dither.NONE)
                    small.save(out / f"{name}.png", optimize=True)
        finally:
            browser.quit()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
