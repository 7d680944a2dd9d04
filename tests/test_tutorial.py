"""The tutorial's commands, one after the other as they are printed, on a folder of tiny images.

Comparisons are planned; of the runs that they would train, the one that later commands look at is trained, and all in this process.
"""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dcnrun.cli import app

TUTORIAL = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text()
COMMANDS = re.findall(r"^dcnrun (.*)", TUTORIAL, re.MULTILINE)
SMALLER = {"steps: 250": "steps: 2", "eval_every: 125": "eval_every: 2", "save_every: 125": "save_every: 2"}
"""Of its file of settings, what is replaced; each stands there once."""
SMALLEST = "model: {width: 16, head_channels: 16}\n"
RUN = "runs/first/deformable-seed0"


def make_folder(folder: Path) -> None:
    """Write bright squares on noise, and their masks, as the tutorial's folder."""
    random = np.random.default_rng(0)
    for split, count in {"train": 4, "val": 2}.items():
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for i in range(count):
            mask = np.zeros((32, 32), np.uint8)
            y, x = random.integers(4, 18, 2)
            mask[y : y + 10, x : x + 10] = 1
            image = random.integers(0, 100, (32, 32, 3), np.uint8) + 100 * mask[..., None]
            Image.fromarray(image).save(folder / "images" / split / f"{split}{i}.png")
            Image.fromarray(mask).save(folder / "masks" / split / f"{split}{i}.png")


def settings() -> str:
    """Return the tutorial's settings, made smaller."""
    (text,) = re.findall(r"```yaml\n(.*?)```", TUTORIAL, re.DOTALL)
    for whole, smaller in SMALLER.items():
        assert text.count(whole) == 1
        text = text.replace(whole, smaller)
    return text + SMALLEST


def run(line: str) -> str:
    """Run a command, and return what it printed."""
    result = CliRunner().invoke(app, shlex.split(line))
    assert result.exit_code == 0, (line, result.output)
    return result.output


@pytest.mark.slow
def test_it_leads_from_a_folder_to_a_decision(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_folder(Path("my-data"))
    file = Path(re.findall(r"Make `([\w/.]+)`", TUTORIAL)[0])
    file.parent.mkdir(parents=True)
    file.write_text(settings())
    printed = {}
    for line in COMMANDS:
        printed[line] = run(f"{line} --dry-run" if line.startswith("compare ") else line)
        if line.startswith("compare ") and not Path(RUN).exists():
            run(
                f"train --config-dir mine experiment=mine conv=deformable optim.offset_lr_mult=0.1 seed=0 --run-dir {RUN}"
            )
    check, *_ = printed.values()
    assert "images in images with masks in masks" in check
    assert len(list(Path("data-check").glob("*.png"))) == 2
    plans = [text for line, text in printed.items() if line.startswith("compare ")]
    assert len(plans) == 4
    assert Path("lr-range/lr.png").is_file()
    assert (Path(RUN) / "figures" / "offsets" / "offsets.html").is_file()
    assert {path.name for path in Path("found/masks").iterdir()} == {"val0.png", "val1.png"}
