"""A ResNet-18 of a quarter's width that has learnt shapes, to start from in place of random weights.

    python -m benchmarks.learnt_features runs/learnt runs/learnt/resnet18.pt

No published weights have this width. The network learns 20,000 images of shapes that are not warped, which no table is about, for 6,000
steps with standard convolution. The file holds its backbone alone, for `model.weights=`: a run's folder would give the head too, which
is to be learnt. A stopped script goes on.
"""

import sys
from pathlib import Path

import torch

from benchmarks.single_runs import train
from dcnrun.runs import RunFolder

SETTINGS = (
    *("experiment=shapes", "conv=standard", "data.warp=0", "data.seed=1", "data.train_images=20000"),
    *("trainer.steps=6000", "trainer.eval_every=1000", "trainer.save_every=500", "trainer.precision=bf16"),
)
BACKBONE = "backbone."

if __name__ == "__main__":
    runs, out = map(Path, sys.argv[1:])
    print(train(runs / "features", SETTINGS)["metrics"])
    state = torch.load(RunFolder(runs / "features").last_checkpoint, weights_only=True)["network"]
    torch.save({key.removeprefix(BACKBONE): value for key, value in state.items() if key.startswith(BACKBONE)}, out)
