#!/usr/bin/env bash
# PaddlePaddle 3.3.1: with groups of parameters, ClipGradByGlobalNorm limits the norm of each group by itself.
#
# Guess: the norm is that of "the gradients of all parameters set in optimizer" (its help), whether these are a list or groups with rates or decays of their own.
# Seen: each group is scaled by its own norm: two groups with gradients of norm 3 and 4, whose norm together is 5, are limited to 1 each, so that their step is 1.41 instead of 1, and goes in
# another direction: beside a group that is scaled by a thousandth, one with small gradients stays as it is. With n groups steps are up to the root of n times as long. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 paddlepaddle==3.3.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import paddle

for gradients in ((3.0, 4.0), (1000.0, 0.5)):
    for grouped in (False, True):
        backbone, head = (paddle.create_parameter([1], "float32", default_initializer=paddle.nn.initializer.Constant(0.0)) for _ in range(2))
        parameters = [{"params": [backbone]}, {"params": [head]}] if grouped else [backbone, head]
        optimizer = paddle.optimizer.SGD(1.0, parameters, grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0))
        (backbone * gradients[0] + head * gradients[1]).backward()
        optimizer.step()
        print("gradients", *gradients, "groups" if grouped else "list", f"step {abs(backbone.item()):.4f} {abs(head.item()):.4f}")
PY
)
echo "$seen"
[ "$seen" = "gradients 3.0 4.0 list step 0.6000 0.8000
gradients 3.0 4.0 groups step 1.0000 1.0000
gradients 1000.0 0.5 list step 1.0000 0.0005
gradients 1000.0 0.5 groups step 1.0000 0.5000" ]
