"""Trains small networks from fixed seeds and writes every number that they give, to show that a change of the code changes none.

    python benchmarks/fixed_seed.py before.json        # with the code as it was
    python benchmarks/fixed_seed.py --against before.json    # with the code as it is: exits with 1 if a number differs

Each kind of convolution and each architecture, a comparison of four variants and two seeds, and a sweep of four trials; on
the built-in shapes, on one thread. Bits depend on the CPU and on PyTorch: both runs are to be made on one machine. What is
timed (images a second, seconds, memory) is left out, and so are words.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DATA = ["data=shapes", "data.image_size=64", "data.train_images=24", "data.val_images=8", "data.batch_size=4"]
LENGTH = [
    "trainer.steps=6",
    "trainer.log_every=2",
    "trainer.eval_every=3",
    "trainer.save_every=3",
    "trainer.threads=1",
    "trainer.pictures=0",
]
NETWORK = ["model.width=16", "data.workers=0"]
LEARNT = "conv.offset_groups=2"
RUNS = {
    "standard": ["conv=standard"],
    "dilated": ["conv=dilated", "conv.dilation=3"],
    "deformable": ["conv=deformable", LEARNT, "optim.offset_lr_mult=0.1", "conv.layers=c4-c5"],
    "modulated": ["conv=modulated", LEARNT, "conv.mask_start=0.5", "optim=adamw", "optim.clip_norm=1"],
    "grouped": ["conv=modulated", "conv.groups=2", "data.crop_size=48", "data.scale_max=1.5", "data.color_jitter=0.4"],
    "deeplabv3": ["conv=deformable", "model=deeplabv3", "model.output_stride=8"],
    "fcn": ["conv=deformable", "model=fcn", "optim.schedule=cosine", "optim.warmup_steps=2"],
    "faster_rcnn": [
        "conv=deformable",
        "model=faster_rcnn",
        "model.roi_pool=deformable",
        "optim.roi_offset_lr_mult=0.1",
    ],
    "faster_rcnn_c5": ["conv=modulated", "model=faster_rcnn", "model.fpn=false", "model.output_stride=16"],
    "retinanet": ["conv=standard", "model=retinanet", "model.fpn_norm=true", "data.short_sides=[64,80]"],
    "nuclei": ["data=nuclei", "conv=deformable", "data.crop_size=64", "data.batch_size=4"],
}
COMPARISON = ["conv=standard,dilated,deformable,modulated", "conv.dilation=2", "seed=0,1"]
SWEEP = """
command: ["${env}", dcnrun, train, "${args_no_hyphens}"]
method: bayes
metric: {name: val/miou, goal: maximize}
run_cap: 4
parameters:
  conv: {value: deformable}
  optim.offset_lr_mult: {distribution: log_uniform_values, min: 0.01, max: 1}
  conv.offset_groups: {values: [1, 2, 4]}
"""
LEFT_OUT = (
    "per_second",
    "wait_share",
    "seconds",
    "memory",
    "device",
    "run",
    "folder",
    "git_commit",
    "versions",
    "time",
    "verdict",
)


def dcnrun(*arguments: str, folder: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    done = subprocess.run(
        [sys.executable, "-m", "dcnrun", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"dcnrun {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def numbers_alone(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: numbers_alone(v) for k, v in value.items() if not any(word in k for word in LEFT_OUT) or "/lr" in k}
    return [numbers_alone(item) for item in value] if isinstance(value, list) else value


def numbers_of(run: Path) -> dict[str, Any]:
    metrics = [numbers_alone(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {"metrics": metrics, "summary": numbers_alone(json.loads((run / "summary.json").read_text()))}


def everything(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, overrides in RUNS.items():
        data = [] if "data=nuclei" in overrides else DATA
        dcnrun("train", *data, *NETWORK, *LENGTH, *overrides, "--run-dir", name, folder=folder)
        found[name] = numbers_of(folder / name)
        print(name, found[name]["metrics"][-1], flush=True)
    dcnrun("compare", *DATA, *NETWORK, *LENGTH, *COMPARISON, "--out", "comparison", folder=folder)
    compared = json.loads((folder / "comparison" / "compare.json").read_text())
    kept = ("name", "seeds", "difference", "val/miou", "parameters", "flops")
    found["comparison"] = numbers_alone([{key: variant[key] for key in kept} for variant in compared["variants"]])
    print("comparison", flush=True)
    (folder / "sweep.yaml").write_text(SWEEP)
    settings = [*DATA, *NETWORK, *LENGTH]
    dcnrun("sweep", "sweep.yaml", *settings, "--out", "sweep", "--seed", "0", folder=folder)
    trials = sorted(path.parent for path in (folder / "sweep").rglob("metrics.jsonl"))
    found["sweep"] = {trial.name: numbers_of(trial) for trial in trials}
    print("sweep", len(trials), flush=True)
    return found


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """What is no longer there or no longer the same; numbers that are new are none."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [line for key in sorted(before) for line in differences(before[key], now.get(key), f"{where}/{key}")]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [line for i, pair in pairs for line in differences(*pair, f"{where}[{i}]")]
    return [] if before == now else [f"{where}: {before} before, {now} now"]


def main() -> None:
    before = json.loads(Path(sys.argv[2]).read_text()) if sys.argv[1] == "--against" else None
    with tempfile.TemporaryDirectory() as temporary:
        found = everything(Path(temporary))
    if before is None:
        Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n")
        return
    differing = differences(before, json.loads(json.dumps(found)))
    print("\n".join(differing) or "Every number that was there is as it was.")
    raise SystemExit(bool(differing))


if __name__ == "__main__":
    main()
