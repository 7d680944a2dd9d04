#!/usr/bin/env bash
# ignite 0.5.5: after a validation with a score of NaN, Checkpoint keeps that checkpoint for good and saves no better one.
#
# Guess: a checkpoint whose score is NaN is not among the best, or is replaced by the next whose score is a number.
# Seen: a new score is compared with the lowest of those kept, and none is higher than NaN. Of scores 0.1, NaN, 0.5, 0.3, 0.9, 0.2 the second and third are kept as the best two, and 0.9 is
# not; where the first is NaN and one is kept, it stays. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 pytorch-ignite==0.5.5 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver

NAN = float("nan")
for number, scores in ((2, [0.1, 0.4, 0.5, 0.3, 0.9, 0.2]), (2, [0.1, NAN, 0.5, 0.3, 0.9, 0.2]), (1, [NAN, 0.5, 0.9])):
    trainer, folder = Engine(lambda engine, batch: None), Path("of" + "_".join(map(str, scores)))
    kept = Checkpoint(
        {"net": torch.nn.Linear(1, 1)},
        DiskSaver(str(folder)),
        n_saved=number,
        score_function=lambda engine: scores[engine.state.epoch - 1],
        score_name="miou",
        global_step_transform=lambda engine, event: engine.state.epoch,
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, kept)
    trainer.run([0], max_epochs=len(scores))
    print(scores, "best", number, sorted(path.stem for path in folder.iterdir()))
PY
)
echo "$seen"
[ "$seen" = "[0.1, 0.4, 0.5, 0.3, 0.9, 0.2] best 2 ['net_3_miou=0.5000', 'net_5_miou=0.9000']
[0.1, nan, 0.5, 0.3, 0.9, 0.2] best 2 ['net_2_miou=nan', 'net_3_miou=0.5000']
[nan, 0.5, 0.9] best 1 ['net_1_miou=nan']" ]
