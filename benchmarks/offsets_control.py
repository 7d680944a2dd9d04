"""Does a layer's effective dilation follow the objects' size because its offsets learnt to? The rank correlation of each
deformable layer of a trained run, and of the same layer with an offset branch that did not learn, many draws of two kinds:

- random: weights and biases are drawn with the standard deviation of the learnt ones.
- shuffled: the learnt ones, but each input channel has the weights of another, the same for all taps. What the taps do
  together stays as it was learnt, what they take it from does not.

    python benchmarks/offsets_control.py RUN benchmarks/results/offsets_control.json

Such a branch takes the features that the learnt one takes, all other layers being as they were trained. Its offsets are
scaled until the median of their lengths is the learnt one: drawn weights work against each other where learnt ones add up,
and would give several times shorter offsets.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcnrun.models.conv import DeformConv2d, OffsetBranch
from dcnrun.offsets.layers import Layer
from dcnrun.offsets.objects import Thresholds
from dcnrun.offsets.statistics.effective_dilation import DilationStatistics, plain_dilation
from dcnrun.visualize.dataset import Example, even_indices
from dcnrun.visualize.load import LoadedRun, load_run

DRAWS, IMAGES = 99, 200


@dataclass(frozen=True)
class Measured:
    """Of one layer with one offset branch."""

    correlation: float
    """Spearman's, of the objects' size and effective dilation."""
    median_offset: float
    """Length, pixels of the map."""
    std_of_objects: float
    """Standard deviation of the objects' effective dilation, pixels of the map."""


def measured(layers: Sequence[Layer], examples: Sequence[Example]) -> Measured:
    """Of one layer, as it was for each image."""
    statistics = DilationStatistics(plain_dilation(layers[0]), Thresholds())
    for layer, example in zip(layers, examples, strict=True):
        statistics.add(layer, example.objects)
    objects = statistics.per_object()
    median = float(lengths([layer.offset for layer in layers]).median())
    return Measured(round(objects.correlation().value, 4), round(median, 4), round(float(objects.dilation.std()), 4))


def lengths(offsets: Sequence[Tensor]) -> Tensor:
    """Of offsets (G, taps, 2, Ho, Wo) of each image, all in one."""
    return torch.cat([torch.linalg.vector_norm(offset, dim=2).flatten() for offset in offsets])


def features(run: LoadedRun, name: str, examples: Sequence[Example]) -> list[Tensor]:
    """What a layer's offset branch takes, for each image."""
    taken: list[Tensor] = []
    branch = deformable(run, name).offset_branch
    with branch.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0])):
        for example in examples:
            run.capture(example.image)
    return taken


def deformable(run: LoadedRun, name: str) -> DeformConv2d:
    module = run.network.get_submodule(name)
    assert isinstance(module, DeformConv2d)
    return module


def random_branch(learnt: OffsetBranch, generator: torch.Generator) -> dict[str, Tensor]:
    """Weights and biases."""
    return {
        part: torch.randn(tensor.shape, generator=generator) * tensor.std()
        for part, tensor in learnt.state_dict().items()
    }


def shuffled_branch(learnt: OffsetBranch, generator: torch.Generator) -> dict[str, Tensor]:
    """Weights and biases."""
    order = torch.randperm(learnt.in_channels, generator=generator)
    return {**learnt.state_dict(), "weight": learnt.weight[:, order]}


KINDS = {"random": random_branch, "shuffled": shuffled_branch}


@torch.no_grad()
def with_branch(
    module: DeformConv2d, drawn: dict[str, Tensor], layers: Sequence[Layer], features: Sequence[Tensor]
) -> list[Layer]:
    """The layer for each image with a drawn branch, whose offsets are as long as the learnt ones."""
    outputs = [torch.func.functional_call(module.offset_branch, drawn, taken) for taken in features]
    offsets = [
        module.split_branch(output)[0].reshape(layer.offset.shape)
        for output, layer in zip(outputs, layers, strict=True)
    ]
    scale = lengths([layer.offset for layer in layers]).median() / lengths(offsets).median()
    return [replace(layer, offset=scale * offset) for layer, offset in zip(layers, offsets, strict=True)]


def control(run: LoadedRun, name: str, layers: Sequence[Layer], examples: Sequence[Example]) -> dict[str, Any]:
    """The learnt layer and the drawn ones, and how many of these have a smaller correlation."""
    module, taken = deformable(run, name), features(run, name, examples)
    learnt = measured(layers, examples)
    result: dict[str, Any] = {"learnt": asdict(learnt)}
    for kind, draw in KINDS.items():
        drawn = [draw(module.offset_branch, torch.Generator().manual_seed(seed)) for seed in range(DRAWS)]
        found = [measured(with_branch(module, branch, layers, taken), examples) for branch in drawn]
        values = sorted(one.correlation for one in found)
        below = sum(value < learnt.correlation for value in values)
        result[kind] = {"below_learnt": below, "draws": [asdict(one) for one in found]}
        print(
            f"{name}: learnt {learnt.correlation:.2f}, above {below} of {DRAWS} {kind} ones, which are {values[0]:.2f} to "
            f"{values[-1]:.2f}, median {values[DRAWS // 2]:.2f}",
            flush=True,
        )
    return result


def main() -> None:
    run = load_run(Path(sys.argv[1]))
    examples = [run.dataset[i] for i in even_indices(len(run.dataset.names), IMAGES)]
    captures = [run.capture(example.image) for example in examples]
    layers = {name: [capture.layer(name) for capture in captures] for name in run.layers}
    result = {
        "run": sys.argv[1],
        "images": len(examples),
        "draws": DRAWS,
        "layers": {name: control(run, name, layers[name], examples) for name in run.layers},
    }
    Path(sys.argv[2]).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
