"""How the gap between standard, dilated and deformable convolution moves with the strength of the objects' warp.

    python benchmarks/shapes_warp.py runs/shapes-warp benchmarks/results docs [warp ...]

Runs three comparisons of 3 seeds, at warp 0.3 with every kind and two dilations, at 0 and 0.6 with three variants; then
writes the tables, shapes_warp.json and the pictures. Each takes about half an hour on one CPU core; a stopped one goes
on. With warps given it only runs those, so that several processes can share the work.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib

from dcnrun.bench.machine import describe

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ALL = ["conv=standard,dilated,deformable,modulated", "conv.dilation=2,4"]
THREE = ["conv=standard,dilated,deformable", "conv.dilation=2"]
COMPARISONS = {0.0: THREE, 0.3: ALL, 0.6: THREE}
COMMON = ["experiment=shapes", "optim.offset_lr_mult=0.1", "trainer.threads=1", "seed=0,1,2"]
COLOURS = {"standard": "#555555", "dilated 2": "#0072b2", "deformable": "#d55e00"}


def folder(runs: Path, warp: float) -> Path:
    return runs / f"warp-{warp:g}"


def compare(runs: Path, warp: float) -> dict:
    arguments = [*COMMON, *COMPARISONS[warp], f"data.warp={warp:g}", "--out", str(folder(runs, warp))]
    subprocess.run([sys.executable, "-m", "dcnrun", "compare", *arguments], check=True)
    return json.loads((folder(runs, warp) / "compare.json").read_text())


def scores(comparison: dict, variant: str) -> list[float]:
    rows = {row["name"]: row for row in comparison["variants"]}
    return [100 * run["val/miou"] for run in rows[variant]["runs"]]


def picture(results: dict[float, dict], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    for name, colour in COLOURS.items():
        by_warp = {warp: scores(comparison, name) for warp, comparison in results.items()}
        means = [sum(values) / len(values) for values in by_warp.values()]
        axes.plot(list(by_warp), means, "-", color=colour, label=name)
        for warp, values in by_warp.items():
            axes.plot([warp] * len(values), values, "o", color=colour, markersize=4, alpha=0.6)
    axes.set(xlabel="warp of the objects (data.warp)", ylabel="val/miou (%)", xticks=list(results))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=160)


def main() -> None:
    runs, results_dir, docs = map(Path, sys.argv[1:4])
    if chosen := [float(argument) for argument in sys.argv[4:]]:
        for warp in chosen:
            compare(runs, warp)
        return
    results = {warp: compare(runs, warp) for warp in COMPARISONS}
    for warp in COMPARISONS:
        kept = results_dir / f"shapes_warp_{warp:g}"
        kept.mkdir(exist_ok=True)
        for name in ("compare.md", "compare.json", "compare.png"):
            shutil.copy(folder(runs, warp) / name, kept)
    picture(results, docs / "shapes-warp.png")
    table = {
        f"{warp:g}": {name: [round(value, 2) for value in scores(comparison, name)] for name in COLOURS}
        for warp, comparison in results.items()
    }
    result = {"machine": describe(), "val_miou_percent_by_seed": table}
    (results_dir / "shapes_warp.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
