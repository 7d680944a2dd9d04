"""Whether networks trained in bf16 on a CPU score what those trained in fp32 score, within the spread of their seeds.

    python benchmarks/bf16_training.py quick|nuclei runs/bf16 benchmarks/results [setting ...]

A comparison of both precisions with modulated deformable convolution, three seeds each, of `experiment=quick` or `nuclei`; its
`compare.*` are copied to the results, and say the scores, the spread over seeds and the difference with its interval. Some 20 minutes
of a CPU core each; a stopped one goes on.
"""

import shutil
import subprocess
import sys
from pathlib import Path

SETTINGS = [
    "conv=modulated",
    "optim.offset_lr_mult=0.1",
    "trainer.precision=fp32,bf16",
    "seed=0,1,2",
    "trainer.threads=1",
]


def main() -> None:
    experiment, runs, results, *more = sys.argv[1:]
    folder, kept = Path(runs) / experiment, Path(results) / f"bf16_{experiment}"
    settings = [f"experiment={experiment}", *SETTINGS, *more]
    subprocess.run([sys.executable, "-m", "dcnrun", "compare", *settings, "--out", str(folder)], check=True)
    kept.mkdir(exist_ok=True)
    for file in ("compare.md", "compare.json", "compare.png"):
        shutil.copy(folder / file, kept)


if __name__ == "__main__":
    main()
