"""What the sheet of pictures after a validation costs: its share of a run's CPU time, and its bytes beside the checkpoints'.

python benchmarks/training_pictures.py benchmarks/results/training_pictures.json

Each case trains for some steps with a sheet at the end; the share is that of a whole run as its settings have it, of steps, validations and
sheets that take as long. CPU time of one process with one thread, so that other work on the machine counts little.
"""

import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dcnrun.bench.machine import describe
from dcnrun.config.compose import compose
from dcnrun.runs import RunFolder, write_json
from dcnrun.training import loop
from dcnrun.training.pictures import has_sheet
from dcnrun.training.run import train

CASES = {
    "quick": ["experiment=quick"],
    "shapes": ["experiment=shapes"],
    "shapes_boxes": ["experiment=shapes_boxes"],
    "nuclei_boxes": ["data=nuclei_boxes", "model=faster_rcnn"],
}
STEPS = 10
SHORT = [f"trainer.{name}={STEPS}" for name in ("steps", "eval_every", "save_every")]
OVERRIDES = [*SHORT, "optim.warmup_steps=0", "trainer.threads=1", "data.workers=0", "trainer.log_every=1"]


def cpu_seconds(call: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """Wrap a function so that the CPU time of each call is kept."""

    def timed(*args: Any) -> Any:
        began = time.process_time()
        result = call(*args)
        spent.append(time.process_time() - began)
        return result

    return timed


def measured(case: list[str]) -> dict[str, Any]:
    spent: dict[str, list[float]] = {name: [] for name in ("train_step", "validate", "write_pictures")}
    originals = {name: getattr(loop, name) for name in spent}
    for name, original in originals.items():
        setattr(loop, name, cpu_seconds(original, spent[name]))
    overrides = [*case, *OVERRIDES]
    try:
        with tempfile.TemporaryDirectory() as parent:
            folder = RunFolder(Path(parent) / "run")
            train(compose(overrides), overrides, folder.path)
            (sheet,) = folder.pictures.iterdir()
            sizes = sheet.stat().st_size, folder.best_checkpoint.stat().st_size
    finally:
        for name, original in originals.items():
            setattr(loop, name, original)
    step, validation, picture = min(spent["train_step"]), min(spent["validate"]), min(spent["write_pictures"])
    trainer = compose(case).trainer
    validations = math.ceil(trainer.steps / trainer.eval_every)
    sheets = sum(has_sheet(number * trainer.eval_every, trainer) for number in range(1, validations + 1))
    without = trainer.steps * step + validations * validation
    return {
        "pictures": trainer.pictures,
        "steps": trainer.steps,
        "sheets": sheets,
        "cpu_seconds": {"step": round(step, 3), "validation": round(validation, 3), "sheet": round(picture, 3)},
        "share_of_run": round(sheets * picture / without, 5),
        "sheet_bytes": sizes[0],
        "best_checkpoint_bytes": sizes[1],
    }


def main() -> None:
    result = {"machine": describe(), "cases": {name: measured(case) for name, case in CASES.items()}}
    write_json(Path(sys.argv[1]), result)


if __name__ == "__main__":
    main()
