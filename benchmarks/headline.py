"""Why the headline moved: deformable convolution gained 7.2 points on shapes when it was first measured (893e2a1), 4.5 later.

    python benchmarks/headline.py steps runs/headline benchmarks/results/headline_steps.json CHECKOUT PACKAGES
    python benchmarks/headline.py gains runs/headline benchmarks/results/headline.json CHECKOUT
    python benchmarks/headline.py first runs/headline benchmarks/results/headline_first.json CHECKOUT PACKAGES

Two changes lie between, and either can be undone in today's code:

- AdamW's fused form, which rounds otherwise;
- CPU kernels of our own in place of `embedding_bag`. They round otherwise, and where a sample lies at exactly -1, as those of the first
  padded line do while offsets are still zero, they give the offset no gradient: `embedding_bag` gave it the slope to the inside.

`steps` shows that there is no third: the first losses and scores of CHECKOUT, which is 893e2a1, have the bits of today's code with both
undone (PACKAGES is a folder with torchmetrics, which that state imports). `gains` trains ten seeds as it is now and with both undone, and
with each where the gain of these two differs by more than chance. `first`, after `gains`, trains the three seeds of CHECKOUT as they were
first trained, but on this machine, and compares all that they log, to the last step, with the runs of both undone. A stopped script goes on.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW

from dcnrun.bench.machine import describe
from dcnrun.cli import main as dcnrun
from dcnrun.compare.runner import run_grid
from dcnrun.compare.statistics import student_interval
from dcnrun.models import conv
from dcnrun.ops.deform_conv2d import reference
from dcnrun.runs import RunFolder, write_json

ROOT = Path(__file__).parents[1]
UNDO = "--undo"
STATES: dict[str, tuple[str, ...]] = {
    "now": (),
    "AdamW undone": ("adamw",),
    "operator undone": ("operator",),
    "both undone": ("adamw", "operator"),
}
KINDS = {"standard": ("conv=standard",), "deformable": ("conv=deformable", "optim.offset_lr_mult=0.1")}
FEW = ("trainer.steps=12", "trainer.log_every=1", "trainer.eval_every=12", "optim.warmup_steps=2", "seed=0")
LOGGED = ("train/loss", "val/miou", "val/pixel_acc")
FIRST_SEEDS = range(3)
SEEDS = ",".join(map(str, range(10)))


def program(undone: tuple[str, ...], checkout: Path) -> list[str]:
    """What stands for `dcnrun`: this file where something is undone."""
    if not undone:
        return [sys.executable, "-m", "dcnrun"]
    return [sys.executable, str(Path(__file__).resolve()), UNDO, "+".join(undone), str(checkout.resolve())]


def run_undone(undone: list[str], checkout: Path, arguments: list[str]) -> None:
    """Be `dcnrun` as it was in some respects."""
    if "adamw" in undone:
        undo_adamw()
    if "operator" in undone:
        undo_operator(checkout)
    sys.argv = ["dcnrun", *arguments]
    dcnrun()


def undo_adamw() -> None:
    fused = AdamW.__init__

    def init(self: AdamW, *args: Any, **settings: Any) -> None:
        fused(self, *args, **settings | {"fused": False})

    AdamW.__init__ = init  # type: ignore[method-assign]


def undo_operator(checkout: Path) -> None:
    """Have layers compute as in the checkout, whose module finds the definition where it was then."""
    sys.modules["dcnrun.ops.reference"] = reference
    spec = importlib.util.spec_from_file_location("rows", checkout / "dcnrun" / "ops" / "rows.py")
    assert spec is not None
    assert spec.loader is not None
    rows = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rows)
    today = conv.deform_conv2d

    def deform_conv2d(input: Tensor, *operands: Any) -> Tensor:
        computes = rows.deform_conv2d_rows if input.device == torch.device("cpu") else today  # "meta" counts FLOPs
        return computes(input, *operands)  # type: ignore[no-any-return]

    conv.deform_conv2d = deform_conv2d


def train(folder: Path, kind: str, program: list[str], code: list[Path], more: tuple[str, ...]) -> list[list[float]]:
    """Train a run, and return its losses and its scores by step."""
    run = RunFolder(folder)
    if not run.is_completed():
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(path.resolve()) for path in code)}
        settings = ["experiment=shapes", *KINDS[kind], "trainer.threads=1", *more]
        command = [*program, "train", *settings, "--run-dir", str(folder.resolve())]
        subprocess.run(command, check=True, cwd=code[0], env=environment)
    return logged(run)


def logged(run: RunFolder) -> list[list[float]]:
    """Return what a run logged at each step of what LOGGED names."""
    records = map(json.loads, run.metrics_file.read_text().splitlines())
    return [[each["step"], *(each[key] for key in LOGGED if key in each)] for each in records]


def first_steps(runs: Path, checkout: Path, packages: Path) -> dict[str, Any]:
    """Compare the first steps of the first state with those of today's code, by kind."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        first = train(runs / f"first-{kind}", kind, program((), checkout), [checkout, packages], FEW)
        now = {
            state: train(runs / f"{state.replace(' ', '-')}-{kind}", kind, program(undone, checkout), [ROOT], FEW)
            for state, undone in STATES.items()
            if kind == "deformable" or "operator" not in undone
        }
        found[kind] = {
            "has the bits of 893e2a1": {state: steps == first for state, steps in now.items()},
            "step, then loss or scores": {"893e2a1": first, **now},
        }
    return found


def gains(runs: Path, checkout: Path) -> dict[str, Any]:
    """Return the gain of deformable convolution with its interval, and how it differs from today's, paired by seed: with both changes
    undone, and if that moves it, so that 0 is outside of the interval, with each of them undone too."""
    by_state = {state: gain(state, runs, checkout) for state in ("now", "both undone")}
    now = np.array(list(by_state["now"]["per_seed"].values()))

    def compare(difference: dict[str, Any]) -> bool:
        apart = np.array(list(difference["per_seed"].values())) - now
        interval = student_interval(apart)
        assert interval is not None
        difference["less now's"] = {"mean": float(apart.mean()), "interval": [interval.low, interval.high]}
        return interval.low > 0 or interval.high < 0

    if compare(by_state["both undone"]):
        for state in ("AdamW undone", "operator undone"):
            by_state[state] = gain(state, runs, checkout)
            compare(by_state[state])
    return by_state


def gain(state: str, runs: Path, checkout: Path) -> dict[str, Any]:
    """What deformable convolution gains over standard in a state, over ten seeds."""
    # A folder of its own, since runs of the same settings are found and taken.
    folder = runs / "gains" / state.replace(" ", "-")
    settings = ["experiment=shapes", "conv=standard,deformable", "optim.offset_lr_mult=0.1", "trainer.threads=1"]
    more = [f"seed={SEEDS}", f"runs_dir={folder}"]
    how = program(STATES[state], checkout)
    report = run_grid([*settings, *more], folder / "compare", agents=2, pictures=0, program=how)
    difference: dict[str, Any] = report["variants"][-1]["difference"]
    return difference


def first_runs(runs: Path, checkout: Path, packages: Path) -> dict[str, Any]:
    """Compare the first state's own runs on this machine, to their ends, with those of `gains` that have both changes undone."""
    scores: dict[str, dict[int, float]] = {kind: {} for kind in KINDS}
    equal: dict[str, bool] = {}
    for kind in KINDS:
        for seed in FIRST_SEEDS:
            name = f"{kind}-seed{seed}"
            first = train(runs / "first" / name, kind, program((), checkout), [checkout, packages], (f"seed={seed}",))
            equal[name] = first == logged(RunFolder(runs / "gains" / "both-undone" / "compare" / name))
            scores[kind][seed] = RunFolder(runs / "first" / name).read_summary()["metrics"]["val/miou"]
    per_seed = {seed: scores["deformable"][seed] - scores["standard"][seed] for seed in FIRST_SEEDS}
    mean = float(np.mean(list(per_seed.values())))
    return {"has the bits of both undone": equal, "gain of 893e2a1": {"mean": mean, "per_seed": per_seed}}


def main(part: str, runs: Path, out: Path, checkout: Path, *packages: str) -> None:
    match part:
        case "steps":
            found = first_steps(runs, checkout, Path(packages[0]))
        case "gains":
            found = gains(runs, checkout)
        case "first":
            found = first_runs(runs, checkout, Path(packages[0]))
        case _:
            sys.exit(f"There is no part {part!r}: steps, gains or first.")
    write_json(out, {"machine": describe(), **found})


if __name__ == "__main__":
    if sys.argv[1] == UNDO:
        run_undone(sys.argv[2].split("+"), Path(sys.argv[3]), sys.argv[4:])
    else:
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), *sys.argv[5:])
