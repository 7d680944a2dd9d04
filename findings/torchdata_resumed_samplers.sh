#!/usr/bin/env bash
# torchdata 0.11.0: a StatefulDataLoader with a sampler of PyTorch's that is resumed after the first epoch goes on in another order, so that it gives some images twice and others not at all.
#
# Guess: what is left of an epoch is given after load_state_dict, for PyTorch's RandomSampler and BatchSampler as its tutorial says ("they are patched ... so that defining a custom sampler here
# is unnecessary"), and for its other samplers with a generator of their own.
# Seen: so it is with shuffle=True. Of a sampler that is passed the state is how many images it gave, not its generator: in the first epoch, and with the seed of the run that was stopped, it
# gives the same order again, and in any later epoch that of the first one, of which as many images are skipped. No warning. torchdata.stateful_dataloader.sampler.RandomSampler is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchdata==0.11.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import torch
from torch.utils.data import BatchSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader import sampler as stateful

IMAGES = list(range(10))
loaders = {
    "shuffle=True": lambda generator: {"shuffle": True, "generator": generator},
    "torchdata's RandomSampler": lambda generator: {"sampler": stateful.RandomSampler(IMAGES, generator=generator)},
    "RandomSampler": lambda generator: {"sampler": RandomSampler(IMAGES, generator=generator)},
    "BatchSampler": lambda generator: {"batch_sampler": BatchSampler(RandomSampler(IMAGES, generator=generator), 1, False)},
    "SubsetRandomSampler": lambda generator: {"sampler": SubsetRandomSampler(IMAGES, generator=generator)},
    "WeightedRandomSampler": lambda generator: {
        "sampler": WeightedRandomSampler([1.0] * len(IMAGES), len(IMAGES), replacement=False, generator=generator)
    },
}


def loader(name):
    return StatefulDataLoader(IMAGES, **loaders[name](torch.Generator().manual_seed(0)))


for name in loaders:
    seen = []
    for stopped_epoch in (1, 2):
        first, given = loader(name), []
        for epoch in range(stopped_epoch - 1):
            list(first)
        batches = iter(first)
        given = [next(batches).item() for _ in range(5)]
        resumed = loader(name)
        resumed.load_state_dict(first.state_dict())
        given += [batch.item() for batch in resumed]
        seen.append(f"stopped in epoch {stopped_epoch}: {len(set(given))} of {len(IMAGES)} images")
    print(name, *seen, sep=", ")
PY
)
echo "$seen"
[ "$seen" = "shuffle=True, stopped in epoch 1: 10 of 10 images, stopped in epoch 2: 10 of 10 images
torchdata's RandomSampler, stopped in epoch 1: 10 of 10 images, stopped in epoch 2: 10 of 10 images
RandomSampler, stopped in epoch 1: 10 of 10 images, stopped in epoch 2: 7 of 10 images
BatchSampler, stopped in epoch 1: 10 of 10 images, stopped in epoch 2: 7 of 10 images
SubsetRandomSampler, stopped in epoch 1: 10 of 10 images, stopped in epoch 2: 8 of 10 images
WeightedRandomSampler, stopped in epoch 1: 10 of 10 images, stopped in epoch 2: 8 of 10 images" ]
