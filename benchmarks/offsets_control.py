"""Does the effective dilation follow the objects' size because the offsets learnt to? The correlation of a trained run, and of the
same network with random offset branches of the same spread, several draws of them.

    python benchmarks/offsets_control.py RUN benchmarks/results/offsets_control.json
"""

import json
import sys
from pathlib import Path

import torch

from dcnrun.models.conv import OffsetBranch
from dcnrun.offsets.load import LoadedRun, load_run
from dcnrun.offsets.measure import measure

DRAWS, IMAGES = 6, 60


def correlations(run: LoadedRun) -> dict[str, dict[str, float]]:
    """Spearman's correlation of each layer with its 95 % interval."""
    layers = measure(run, limit=IMAGES).layers
    return {
        layer.name: {"value": layer.correlation.value, "low": layer.correlation.low, "high": layer.correlation.high}
        for layer in layers
    }


def draw_branches(run: LoadedRun, learnt: dict[str, torch.Tensor], seed: int) -> None:
    """Give every offset branch random weights and biases with the standard deviation of the learnt ones."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randn(tensor.shape, generator=generator) * tensor.std() for name, tensor in learnt.items()}
    run.network.load_state_dict(drawn, strict=False)


def main() -> None:
    run = load_run(Path(sys.argv[1]))
    learnt = {
        f"{name}.{part}": tensor.clone()
        for name, module in run.network.named_modules()
        if isinstance(module, OffsetBranch)
        for part, tensor in module.state_dict().items()
    }
    result = {"run": sys.argv[1], "images": IMAGES, "learnt": correlations(run), "random": []}
    for seed in range(DRAWS):
        draw_branches(run, learnt, seed)
        result["random"].append(correlations(run))
    Path(sys.argv[2]).write_text(json.dumps(result, indent=1) + "\n")
    for name, own in result["learnt"].items():
        others = [draw[name]["value"] for draw in result["random"]]
        print(f"{name}: learnt {own['value']:.2f}, random {min(others):.2f} to {max(others):.2f}")


if __name__ == "__main__":
    main()
