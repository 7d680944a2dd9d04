#!/usr/bin/env bash
# keras 3.15.1: with gradient_accumulation_steps=k the moving average of weights (use_ema) takes each step's weights in k times, so that its momentum is that to the power of k.
#
# Guess: an optimizer that steps every k batches averages as one that is given k batches at once: ema_momentum of the average stays at each step. Its help says that gradients are averaged, that
# variables "will not be updated at every step", and that EMA's frequency "will look at accumulated iterations".
# Seen: gradients, clipping and decay are as of one large batch, but the average is updated after every batch. With momentum 0.9, ten steps after a change the weights from before it have 0.35 of
# the average without accumulation, 0.14 with batches by twos, and 0.0005 by eights: the same settings with smaller batches average over a fraction of the steps, and hardly at all.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 keras==3.15.1 numpy==2.4.6
cd "$folder"
seen=$(KERAS_BACKEND=torch venv/bin/python -W ignore - 2> /dev/null <<'PY'
import keras


def share(k, steps=10):
    """How much of the average is a weight of 1 that was changed to 0 by the second step, after so many steps from then on; the sum of gradients of a step is the same whatever k."""
    weight = keras.Variable([1.0])
    accumulated = {} if k == 1 else {"gradient_accumulation_steps": k}
    optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.9, **accumulated)
    optimizer.build([weight])
    for step in range(steps + 1):
        for _ in range(k):
            optimizer.apply_gradients([(keras.ops.convert_to_tensor([1.0 if step == 1 else 0.0]), weight)])
    changed = weight.numpy()[0]
    optimizer.finalize_variable_values([weight])
    return changed, weight.numpy()[0]


print(f"by definition {0.9 ** 10:.4f}")
for k in (1, 2, 4, 8):
    changed, average = share(k)
    print(f"{k} batches a step: the weight is {changed:.1f}, its average {average:.4f}")
PY
)
echo "$seen"
[ "$seen" = "by definition 0.3487
1 batches a step: the weight is 0.0, its average 0.3487
2 batches a step: the weight is 0.0, its average 0.1351
4 batches a step: the weight is 0.0, its average 0.0203
8 batches a step: the weight is 0.0, its average 0.0005" ]
