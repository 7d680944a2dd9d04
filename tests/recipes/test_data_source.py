"""The recipe "Add a data source", followed to the letter: images whose masks stand beside them, by the end of their names."""

import json

import numpy as np
from PIL import Image

from tests.recipes.factories import TINY, TINY_HEAD


def add_data_source(package):
    package.insert_after(
        "dcnrun/config/schema.py",
        '    coco = "coco"\n',
        '    beside = "beside"\n',
    )
    package.insert_before(
        "dcnrun/config/schema.py",
        "@dataclass\nclass Voc2012Config(DataConfig):\n",
        '''\
@dataclass
class BesideConfig(DataConfig):
    """Images whose masks stand beside them, such as cat.jpg and cat_mask.png."""

    source: Source = setting(Source.beside, "the reader")
    classes: list[str] = setting([], "class names in the order of the mask's values, background included")
    ending: str = setting("_mask", "what a mask's name has after its image's")


''',
    )
    package.write(
        "dcnrun/data/beside.py",
        '''\
"""Images whose masks stand beside them."""

from collections.abc import Iterator
from pathlib import Path

from dcnrun.config.schema import BesideConfig
from dcnrun.data.files import FileDataset, LabelTable, Pair, root_folder
from dcnrun.data.sample import IGNORE, Rule, Split
from dcnrun.errors import UsageError


def rules(config: BesideConfig) -> Iterator[Rule]:
    """The rules for the settings of such a data set."""
    yield "root", config.root is not None, "the folder that holds train and val"
    yield "classes", 2 <= len(config.classes) <= IGNORE, "2 to 255 names in the order of the mask's values"
    yield "ending", config.ending != "", "some letters: without, a mask would be its own image"


class BesideDataset(FileDataset):
    """`root/train/cat.jpg` with its mask `root/train/cat_mask.png`, and so for val."""

    def __init__(self, config: BesideConfig, split: Split) -> None:
        """UsageError if there are no images."""
        folder = root_folder(config, "train and val") / split
        pairs = [_pair(image, config.ending) for image in sorted(folder.glob("*.jpg"))]
        if not pairs:
            raise UsageError(f"data.root={config.root}: there are no images {folder}/NAME.jpg")
        super().__init__(pairs, config.classes, LabelTable.identity(len(config.classes), IGNORE))


def _pair(image: Path, ending: str) -> Pair:
    return Pair(image.stem, image, image.with_name(f"{image.stem}{ending}.png"))
''',
    )
    package.insert_before("dcnrun/data/registry.py", "    cityscapes,\n", "    beside,\n")
    package.insert_after(
        "dcnrun/data/registry.py",
        "DATASETS: dict[Source, DataSource[Any]] = {\n",
        "    Source.beside: DataSource(schema.BesideConfig, masks=beside.BesideDataset, rules=beside.rules),\n",
    )
    package.write(
        "conf/data/beside.yaml",
        """\
# Your own images with a mask beside each: give data.root and data.classes.
defaults:
  - /schema/data@_here_: beside
  - _self_
""",
    )
    package.write(
        "tests/data/test_beside.py",
        '''\
"""Masks beside their images: what is read, and what is said where there is nothing."""

import pytest

from dcnrun.config.schema import BesideConfig, Source
from dcnrun.data import build_dataset
from dcnrun.errors import UsageError
from tests.data.conformance import DatasetSuite
from tests.data.factories import labels, save_image, save_mask


class TestBeside(DatasetSuite):
    source = Source.beside

    @pytest.fixture
    def config(self, tmp_path):
        for split in ("train", "val"):
            for name in ("a", "b", "c"):
                save_image(tmp_path / split / f"{name}.jpg")
                save_mask(tmp_path / split / f"{name}_mask.png", labels())
        return BesideConfig(root=str(tmp_path), classes=["no", "yes"])

    def test_images_without_masks_are_not_taken_for_nothing(self, config, tmp_path):
        with pytest.raises(UsageError, match="there are no images"):
            build_dataset(BesideConfig(root=str(tmp_path / "train"), classes=["no", "yes"]), "val")
''',
    )


def draw_images(folder):
    """Images of a bright rectangle on a dark ground, with its mask beside each."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        (folder / split).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros((64, 64), np.uint8)
            y, x = draw.integers(4, 30, 2)
            mask[y : y + 24, x : x + 24] = 1
            pixels = draw.integers(0, 60, (64, 64, 3)) + 180 * mask[..., None]
            Image.fromarray(pixels.astype(np.uint8)).save(folder / split / f"{number}.jpg")
            Image.fromarray(mask).save(folder / split / f"{number}_mask.png")


def test_a_source_is_checked_trained_on_compared_and_drawn(package, recipes):
    add_data_source(package)
    assert package.touched("beside") == recipes["Add a data source"].files
    assert package.edited == {"dcnrun/config/schema.py", "dcnrun/data/registry.py"}
    assert package.edits() == 3
    draw_images(package.folder / "images")
    tiny = [*TINY, *TINY_HEAD, "data=beside", "data.root=images", "data.classes=[ground,rectangle]"]
    outputs = package.run(
        ("config", "--list", "data=beside"),
        ("data", "check", *tiny[-3:], "--out", "checked", "--samples", "1"),
        ("train", *tiny, "--dry-run"),
        ("train", *tiny, "conv=deformable", "--run-dir", "deformable"),
        ("train", *tiny, "conv=standard", "--run-dir", "standard"),
        ("compare", "standard", "deformable", "--out", "compared"),
        ("evaluate", "deformable"),
        ("visualize-offsets", "deformable", "2", "--out", "offsets", "--limit", "1"),
        ("pytest", "tests/data/test_beside.py", "tests/data/test_registry.py", "-k", "beside or labels"),
    )
    listed, checked, plan, *_ = outputs
    assert "data.ending=_mask" in listed
    assert "No problems." in checked
    assert "epochs of 8 images; validation on 4" in plan
    folder = package.folder
    comparison = json.loads((folder / "compared" / "compare.json").read_text())
    assert list(comparison["variants"][0]["runs"][0]["summary"]["per_class"]["val/miou"]) == ["ground", "rectangle"]
    assert (folder / "compared" / "compare.png").stat().st_size > 10_000
    assert (folder / "offsets" / "2" / "points.png").is_file()
