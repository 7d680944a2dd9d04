#!/usr/bin/env bash
# tensorboard-reducer 0.4.0: a run that diverged is left out of the mean of its seeds, steps that not all runs have vanish though lengths are compared, and of curves over 10,000 points a random part is used.
#
# Guess: the mean and standard deviation of runs are numpy's at each step, as its help says (arr.mean(-1), arr.std(-1)): NaN where a run is NaN. With strict_steps, the default, runs that
# weren't logged at the same steps are refused.
# Seen: statistics are pandas': NaN is skipped, and the deviation is over N - 1. Only numbers of points are compared: of runs validated at 10, 20, 30 and at 11, 20, 31 step 20 is left. And they
# are compared after a reservoir of TensorBoard's has kept 10,000 points of each at random (its help says the last), in which the first step is missing: runs of 20,000 and 30,000 steps pass
# as equally long, and what remains is every step that happens to be in both samples. No warning; the command tb-reducer writes these as a new run.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# setuptools: TensorBoard imports pkg_resources.
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 pandas==3.1.1 tensorboard==2.21.0 tensorboardX==2.6.5 tensorboard-reducer==0.4.0 setuptools==75.8.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
from tensorboard_reducer import load_tb_events, reduce_events
from tensorboardX import SummaryWriter


def loaded(**runs):
    """The scalars of runs, each given as its values by step."""
    for name, values in runs.items():
        writer = SummaryWriter(name)
        for step, value in values.items():
            writer.add_scalar("miou", value, step)
        writer.close()
    return load_tb_events(list(runs))


seeds = [[0.1, 0.2, 0.3], [0.3, float("nan"), 0.5], [0.5, 0.6, 0.1]]
events = loaded(a=dict(enumerate(seeds[0])), b=dict(enumerate(seeds[1])), c=dict(enumerate(seeds[2])))
for name, values in reduce_events(events, ["mean", "std"]).items():
    right = getattr(np, name)(np.array(seeds), axis=0)
    print(name, "numpy", right.round(3).tolist(), "tensorboard-reducer", values["miou"].round(3).tolist())
print("steps", loaded(d={10: 0.1, 20: 0.2, 30: 0.3}, e={11: 0.3, 20: 0.4, 31: 0.5})["miou"].index.tolist())
curves = loaded(short={step: step for step in range(20_000)}, long={step: step for step in range(30_000)})["miou"]
print("curves", len(curves), "points, first at step", curves.index[0])
PY
)
echo "$seen"
[ "$seen" = "mean numpy [0.3, nan, 0.3] tensorboard-reducer [0.3, 0.4, 0.3]
std numpy [0.163, nan, 0.163] tensorboard-reducer [0.2, 0.283, 0.2]
steps [20]
curves 6667 points, first at step 2" ]
