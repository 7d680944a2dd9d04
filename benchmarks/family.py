"""The whole family in one table: standard, dilated, deformable, modulated, DCNv3 and DCNv4, on three small data sets.

    python benchmarks/family.py shapes|nuclei|treecrowns runs/family benchmarks/results [setting ...]
    python benchmarks/family.py estimate runs/family-estimate [shapes|nuclei|treecrowns]

Each data set is one `dcnrun compare`, whose table has intervals; its `compare.*` are copied to the results. A stopped one goes
on, and with `--storage` among the settings several processes share it. DCNv3 and DCNv4 are as wide as it takes for as many parameters as
the convolutions have (`conv.match=parameters`), which the table says. `estimate` trains two very short runs of one kind on each data set
and says how many hours of CPU time the comparison takes.
"""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

KINDS = "standard,dilated,deformable,modulated,dcnv3,dcnv4"
COMMON = ["conv.dilation=2", "conv.match=parameters", "optim.offset_lr_mult=0.1", "trainer.threads=1"]

# What `estimate` trains, and for how many steps.
ESTIMATED = ["conv=dcnv3", "conv.match=parameters", "trainer.threads=1", "optim.warmup_steps=0", "seed=0"]
FEW, MORE = 8, 32


class Table(NamedTuple):
    """One comparison: its settings, how long each run is, and how many seeds."""

    settings: tuple[str, ...]
    steps: int
    eval_every: int
    seeds: int

    def length(self) -> list[str]:
        return [
            f"trainer.steps={self.steps}",
            f"trainer.eval_every={self.eval_every}",
            f"trainer.save_every={self.eval_every}",
        ]


# The budgets of `experiment=shapes` and `nuclei`, whose scores have settled by then; of tree crowns, the steps by which
# `results/treecrowns.json` has the best scores of all of its runs but one.
TABLES = {
    "shapes": Table(("experiment=shapes",), 600, 200, 5),
    "nuclei": Table(("experiment=nuclei",), 250, 125, 3),
    "treecrowns": Table(("experiment=treecrowns",), 1500, 500, 3),
}


def compare(name: str, runs: Path, results: Path, more: list[str]) -> None:
    """Run a comparison, and keep its table."""
    table, folder = TABLES[name], runs / name
    seeds = ",".join(map(str, range(table.seeds)))
    settings = [*table.settings, f"conv={KINDS}", *COMMON, *table.length(), f"seed={seeds}", *more]
    subprocess.run([sys.executable, "-m", "dcnrun", "compare", *settings, "--out", str(folder)], check=True)
    kept = results / f"family_{name}"
    kept.mkdir(exist_ok=True)
    for file in ("compare.md", "compare.json", "compare.png"):
        shutil.copy(folder / file, kept)


def cpu_seconds(folder: Path, table: Table, steps: int) -> float:
    """Return the CPU time of a run of so few steps, with one evaluation."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    length = [f"trainer.{name}={steps}" for name in ("steps", "eval_every", "save_every")]
    command = [sys.executable, "-m", "dcnrun", "train", "--run-dir", str(folder), *table.settings, *ESTIMATED, *length]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def estimate(runs: Path, names: list[str]) -> None:
    """Print the hours that each comparison takes, from a run of a few steps and one of some more."""
    for name in names:
        table = TABLES[name]
        short, longer = (cpu_seconds(runs / f"{name}-{steps}", table, steps) for steps in (FEW, MORE))
        step = (longer - short) / (MORE - FEW)
        once = short - FEW * step  # start, and one evaluation
        of_run = table.steps * step + table.steps // table.eval_every * once
        hours = of_run * table.seeds * len(KINDS.split(",")) / 3600
        print(
            json.dumps({"table": name, "step_s": round(step, 3), "run_s": round(of_run), "cpu_hours": round(hours, 2)}),
            flush=True,
        )


def main() -> None:
    what, runs, *rest = sys.argv[1:]
    if what == "estimate":
        estimate(Path(runs), rest or list(TABLES))
    else:
        compare(what, Path(runs), Path(rest[0]), rest[1:])


if __name__ == "__main__":
    main()
