"""What pooling 512 regions costs: ours with offsets, with a mask too, and without, beside torchvision's roi_align.

    python benchmarks/roi_pool.py benchmarks/results/roi_pool.json [rounds]

One image, a map of 256 channels and 50 x 50 pixels at 1/16 of the image's size, 7 x 7 bins, fp32. Regions have sides of 32
to 512 pixels and offsets are N(0, 1), as `gamma` of 0.1 wants them. Offsets and masks are given: what predicts them is not
timed. Gradients are those of the map, the offsets and the masks. All run in turn in one process.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision

from dcnrun.bench.machine import describe
from dcnrun.bench.timing import interleaved, quartiles_ms
from dcnrun.ops import deform_roi_pool
from dcnrun.ops.jit.load import load

ROIS, CHANNELS, SIDE, BINS, SCALE = 512, 256, 50, 7, 1 / 16
ROUNDS = 15
SAMPLING = {"2 x 2 samples": 2, "adaptive": 0}
TORCHVISION = "torchvision roi_align"
# What is given beside the map and the regions; the map's layout.
VARIANTS = {
    "ours, deformable": (["offset"], torch.channels_last),
    "ours, modulated": (["offset", "mask"], torch.channels_last),
    "ours, plain": ([], torch.channels_last),
    "ours, deformable, NCHW": (["offset"], torch.contiguous_format),
    "ours, modulated, NCHW": (["offset", "mask"], torch.contiguous_format),
    "ours, plain, NCHW": ([], torch.contiguous_format),
}
Work = Callable[[], object]


def operands() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = SIDE / SCALE
    centre = image * torch.rand(ROIS, 2, generator=generator)
    sides = 32 * 16 ** torch.rand(ROIS, 2, generator=generator)
    boxes = torch.cat([centre - sides / 2, centre + sides / 2], 1).clamp(0, image)
    return {
        "input": torch.randn(1, CHANNELS, SIDE, SIDE, generator=generator),
        "rois": torch.cat([torch.zeros(ROIS, 1), boxes], 1),
        "offset": torch.randn(ROIS, 2, BINS, BINS, generator=generator),
        "mask": torch.rand(ROIS, 1, BINS, BINS, generator=generator),
        "grad_output": torch.randn(ROIS, CHANNELS, BINS, BINS, generator=generator),
    }


def works(sampling_ratio: int) -> dict[tuple[str, str], Work]:
    """Each variant's forward pass, and forward and backward pass."""
    given = operands()
    rois, grad_output = given["rois"], given["grad_output"]
    made: dict[tuple[str, str], Work] = {}

    def add(name: str, pool: Callable[..., torch.Tensor], leaves: list[torch.Tensor]) -> None:
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]

        def forward() -> torch.Tensor:
            with torch.no_grad():
                return pool(*leaves)

        made[name, "forward"] = forward
        made[name, "forward and backward"] = lambda: torch.autograd.grad(pool(*leaves), leaves, grad_output)

    add(
        TORCHVISION,
        lambda map: torchvision.ops.roi_align(map, rois, BINS, SCALE, sampling_ratio, aligned=True),
        [given["input"]],
    )
    for name, (names, memory_format) in VARIANTS.items():

        def pool(
            map: torch.Tensor, offset: torch.Tensor | None = None, mask: torch.Tensor | None = None
        ) -> torch.Tensor:
            return deform_roi_pool(map, rois, offset, BINS, SCALE, sampling_ratio, mask=mask)

        add(name, pool, [given["input"].contiguous(memory_format=memory_format), *(given[other] for other in names)])
    return made


def main() -> None:
    out, *more = sys.argv[1:]
    rounds = int(more[0]) if more else ROUNDS
    kernel = load("deform_roi_pool", torch.float32).built
    machine = describe() | {"kernel": {"file": kernel.file.name, "flags": kernel.record["flags"]}}
    results: dict[str, dict[str, dict[str, object]]] = {}
    for sampling, ratio in SAMPLING.items():
        times = {name: quartiles_ms(seconds) for name, seconds in interleaved(works(ratio), rounds).items()}
        results[sampling] = {}
        for (variant, part), time in times.items():
            share = round(time["median"] / times[TORCHVISION, part]["median"], 3)
            results[sampling].setdefault(variant, {})[part] = {"ms": time, "times_roi_align": share}
            print(f"{sampling:14} {variant:24} {part:21} {time['median']:8.1f} ms  {share:.3f} x roi_align")
    setting = {"rois": ROIS, "channels": CHANNELS, "side": SIDE, "bins": BINS, "dtype": "float32", "rounds": rounds}
    Path(out).write_text(json.dumps({"machine": machine, **setting, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
