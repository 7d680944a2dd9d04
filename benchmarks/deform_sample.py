"""What deformable sampling costs on a CPU: ours beside our modulated convolution with a group for each channel, and a copy.

    python benchmarks/deform_sample.py benchmarks/results/deform_sample.json [rounds] [--peers PYTHON]

fp32, 3x3, stride 1, offsets N(0, 1), factors given or by softmax. Forward is without gradients; gradients are those of input,
offsets and factors. The floor is the time in which this machine copies as many bytes as the forward reads and writes at
least: input, offsets, factors and output, each once; a copy of half of them, read and written past any cache, while our
operands were in use just before, as between the layers of a network. All run in turn in one process. Extra memory is beyond operands and
results, as a share of the columns that a convolution by matrix product would make, each in a process of its own. PYTHON is an
interpreter of an environment with deformops 3 (Python 3.12 or 3.13): its definition in plain PyTorch, what it has for CPUs, then
runs there on the same tensors, before ours, and must give the same numbers.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from dcnrun.bench.machine import describe
from dcnrun.bench.memory import in_fresh_process, peak_extra_bytes
from dcnrun.bench.timing import copies_past_cache, in_turn, interleaved, quartiles_ms
from dcnrun.ops import deform_conv2d, deform_sample2d
from dcnrun.ops.jit.load import load

ROUNDS = 15
POINTS = 9
# Batch, channels, side, groups.
SHAPES = {
    "N2 C256 32x32 G16": (2, 256, 32, 16),
    "N2 C64 64x64 G4": (2, 64, 64, 4),
    "N1 C256 64x64 G16": (1, 256, 64, 16),
}
FORMATS = {"NHWC": torch.channels_last, "NCHW": torch.contiguous_format}
COPY, CONVOLUTION = "copy", "modulated convolution, groups = C"
OURS = "ours, NHWC"
FORWARD, BOTH = "forward", "forward and backward"
Work = Callable[[], object]
_COPIED = 2**28  # bytes, read and written: past any cache

# Runs deformops' definition in plain PyTorch on the tensors of a file, and writes what it gave and how long it took.
PEER = """
import statistics, sys, time, torch
from deformops.backends.eager.attn_pytorch import forward
file, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
tensors = torch.load(file, weights_only=True)
leaves = [tensors[name].requires_grad_() for name in ("input", "offset", "mask")]
groups, channels = leaves[1].shape[3], leaves[0].shape[3]
def compute():
    return forward(*leaves, 3, 3, 1, 1, 1, 1, 1, 1, groups, channels // groups, 1.0)
def both():
    output = compute()
    torch.autograd.grad(output, leaves, torch.ones_like(output))
def median_ms(work, calls=5):
    seconds = []
    for _ in range(calls + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(seconds[1:])
with torch.no_grad():
    output, forward_ms = compute(), median_ms(compute)
torch.save({"output": output, "forward": forward_ms, "forward and backward": median_ms(both)}, file)
"""
PEER_TOLERANCE = 1e-4


def operands(shape: tuple[int, int, int, int], memory_format: torch.memory_format) -> list[Tensor]:
    """Return input, offsets and factors."""
    batch, channels, side, groups = shape
    generator = torch.Generator().manual_seed(0)

    def normal(channels: int) -> Tensor:
        return torch.randn(batch, channels, side, side, generator=generator)

    input = normal(channels).contiguous(memory_format=memory_format)
    return [input, normal(2 * POINTS * groups), normal(POINTS * groups)]


def convolve(input: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
    """Compute the same by our modulated convolution."""
    return deform_conv2d(input, offset, input.new_ones(input.shape[1], 1, 3, 3), padding=1, mask=mask)


def sample(input: Tensor, offset: Tensor, mask: Tensor, softmax: bool = False) -> Tensor:
    """Compute deformable sampling."""
    return deform_sample2d(input, offset, mask, 3, padding=1, softmax=softmax)


def passes(compute: Callable[..., Tensor], given: list[Tensor]) -> dict[str, Callable[[], Iterable[Tensor]]]:
    """Return its forward pass, and its forward and backward pass."""
    leaves = [operand.detach().requires_grad_() for operand in given]
    grad_output = torch.randn_like(compute(*given))

    def forward() -> list[Tensor]:
        with torch.no_grad():
            return [compute(*leaves)]

    def both() -> list[Tensor]:
        output = compute(*leaves)
        return [output, *torch.autograd.grad(output, leaves, grad_output)]

    return {FORWARD: forward, BOTH: both}


def works(shape: tuple[int, int, int, int]) -> dict[tuple[str, str], Work]:
    """Return all that is measured of one shape."""
    variants: dict[str, tuple[Callable[..., Tensor], list[Tensor]]] = {}
    for name, memory_format in FORMATS.items():
        given = operands(shape, memory_format)
        variants[f"ours, {name}"] = sample, given
        variants[f"ours, {name}, softmax"] = lambda *o: sample(*o, softmax=True), given
        variants[f"ours, {name}, bf16"] = sample, [given[0].bfloat16(), *given[1:]]
        variants[f"ours, {name}, offsets NHWC"] = (
            sample,
            [given[0], *(each.contiguous(memory_format=torch.channels_last) for each in given[1:])],
        )
    variants[CONVOLUTION] = convolve, operands(shape, torch.channels_last)
    made: dict[tuple[str, str], Work] = {}
    for name, (compute, given) in variants.items():
        made |= {(name, part): work for part, work in passes(compute, given).items()}
    least = least_bytes(shape)
    pairs = [(torch.zeros(least // 8), torch.zeros(least // 8)) for _ in range(copies_past_cache(least, _COPIED))]
    made[COPY, FORWARD] = in_turn([lambda pair=pair: pair[0].copy_(pair[1]) for pair in pairs])  # type: ignore[misc]
    return made


def least_bytes(shape: tuple[int, int, int, int]) -> int:
    """Return what the forward reads and writes at least."""
    given = operands(shape, torch.contiguous_format)
    return given[0].nbytes + sum(operand.nbytes for operand in given)


def extra_memory(shape: tuple[int, int, int, int], part: str) -> int:
    """Measure the bytes beyond operands and results of a pass of ours, in this process."""
    work = passes(sample, operands(shape, torch.channels_last))[part]
    work()  # threads and their stacks
    return peak_extra_bytes(work)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("rounds", type=int, nargs="?", default=ROUNDS)
    parser.add_argument("--peers", help="a Python interpreter that has deformops")
    given = parser.parse_args()
    kernel = load("deform_sample2d", torch.float32).built
    machine = describe() | {"kernel": {"file": kernel.file.name, "flags": kernel.record["flags"]}}
    results: dict[str, dict[str, object]] = {}
    for label, shape in SHAPES.items():
        peer = _peer(given.peers, shape) if given.peers else {}
        times = {name: quartiles_ms(seconds) for name, seconds in interleaved(works(shape), given.rounds).items()}
        columns = 4 * POINTS * shape[0] * shape[1] * shape[2] ** 2
        extra = {part: in_fresh_process(extra_memory, shape, part) / columns for part in (FORWARD, BOTH)}
        ours = {part: times[OURS, part]["median"] for part in (FORWARD, BOTH)}
        summary = {
            "forward_times_copy": round(ours[FORWARD] / times[COPY, FORWARD]["median"], 2),
            "convolution_times_ours": {
                part: round(times[CONVOLUTION, part]["median"] / ours[part], 2) for part in ours
            },
            "deformops_times_ours": {part: round(ms / ours[part], 1) for part, ms in peer.items()},
            "extra_memory_of_columns": {part: round(share, 4) for part, share in extra.items()},
        }
        by_variant: dict[str, dict[str, object]] = {}
        for (variant, part), time in times.items():
            by_variant.setdefault(variant, {})[part] = time
            print(f"{label:18} {variant:36} {part:21} {time['median']:8.2f} ms")
        results[label] = {"ms": by_variant, "deformops_ms": peer, **summary}
        print(label, json.dumps(summary))
    setting = {"dtype": "float32", "kernel": 3, "rounds": given.rounds, "threads": torch.get_num_threads()}
    given.out.write_text(json.dumps({"machine": machine, **setting, "results": results}, indent=1) + "\n")


def _peer(python: str, shape: tuple[int, int, int, int]) -> dict[str, float]:
    """Return the milliseconds of deformops' passes in its own environment; its numbers must be ours."""
    batch, channels, side, groups = shape
    input, offset, mask = operands(shape, torch.contiguous_format)
    by_point = offset.unflatten(1, (groups, 3, 3, 2)).permute(0, 5, 6, 1, 3, 2, 4).flip(-1)  # columns outer, x before y
    tensors = {
        "input": input.permute(0, 2, 3, 1).contiguous(),
        "offset": by_point.flatten(4, 5).contiguous(),
        "mask": mask.unflatten(1, (groups, 3, 3)).permute(0, 4, 5, 1, 3, 2).flatten(4).contiguous(),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tensors.pt"
        torch.save(tensors, file)
        subprocess.run([python, "-I", "-c", PEER, str(file), str(torch.get_num_threads())], check=True)
        answer = torch.load(file, weights_only=True)
    theirs = answer.pop("output").reshape(batch, side, side, channels).permute(0, 3, 1, 2)
    ours = sample(input, offset, mask)
    assert (ours - theirs).abs().max() <= PEER_TOLERANCE * ours.abs().max()
    return {part: float(answer[part]) for part in (FORWARD, BOTH)}


if __name__ == "__main__":
    main()
