#!/usr/bin/env bash
# lightning 2.6.6: in a network with batch normalization StochasticWeightAveraging takes one more step from the averaged weights, and the last epoch's weights are never in the average.
#
# Guess: trained for epochs 0 to 3 with swa_epoch_start=2 (of 1 to 4 epochs, as its help counts), the weights at the end are the mean of those after the epochs from there to the last, as
# PyTorch's AveragedModel has it after each; the pass that measures batch normalization's statistics anew changes nothing else.
# Seen: weights are added as an epoch begins: those of before it, and never those after the last. For batch normalization the images are passed once more without a backward pass; the gradient of
# the last batch of training is still there, isn't set to zero, and the optimizer uses it at that pass's end: a weight whose average is 0.37 ends at 0.25. With a GradScaler the same is an error
# (Lightning's issue 17245). EMAWeightAveraging gives what its definition says.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 lightning==2.6.6 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY' | grep weights
import logging

import lightning
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch import nn

logging.disable(logging.CRITICAL)
inputs = torch.linspace(-1, 1, 16).view(16, 1)


class Network(lightning.LightningModule):
    """Two weights, which start at 1, and what the second was after each epoch."""

    def __init__(self, norm):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 1, bias=False), norm, nn.Linear(1, 1, bias=False))
        nn.init.ones_(self.layers[0].weight)
        nn.init.ones_(self.layers[2].weight)
        self.after = []

    def training_step(self, batch, index):
        return nn.functional.mse_loss(self.layers(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    def on_train_epoch_end(self):
        if self.current_epoch < 4:  # of the pass for batch normalization nothing is written down
            self.after.append(self.layers[2].weight.item())


for name, norm in (("no normalization", nn.Identity()), ("batch normalization", nn.BatchNorm1d(1, affine=False))):
    network = Network(norm)
    trainer = lightning.Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=2)],
    )
    trainer.fit(network, torch.utils.data.DataLoader(list(zip(inputs, 3 * inputs)), batch_size=4))
    print(
        f"{name}: weights after each epoch",
        *(f"{value:.2f}" for value in network.after),
        f"mean of the last three {sum(network.after[1:]) / 3:.2f}, without the last epoch {sum(network.after[:3]) / 3:.2f}; at the end {network.layers[2].weight.item():.2f}",
    )
PY
)
echo "$seen"
[ "$seen" = "no normalization: weights after each epoch 1.98 1.65 1.73 1.77 mean of the last three 1.72, without the last epoch 1.79; at the end 1.79
batch normalization: weights after each epoch 0.28 0.16 0.68 0.54 mean of the last three 0.46, without the last epoch 0.37; at the end 0.25" ]
