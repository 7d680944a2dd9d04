"""Commands about this machine and the operators on it: `dcnrun doctor`, `kernels build`, `kernels prove` and `bench ops`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dcnrun.cli.imports import kept_imports
from dcnrun.cli.options import Device, Dtype, Json


def doctor(as_json: Json = False) -> dict[str, Any]:
    """Show what there is, what would be used, and what is wrong.

    Versions, devices, compiler, kernels and their cache, and what computes each operator.
    """
    with kept_imports():
        from dcnrun.doctor import doctor as examine

    return examine()


def build_kernels(
    dtype: Annotated[
        list[Dtype] | None,
        typer.Option(metavar="DTYPE", help="float32, float64, bfloat16 or float16, once or more; by default all."),
    ] = None,
    cuda: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARCH",
            help="CUDA kernels for this GPU architecture (sm_80, sm_86, sm_89, sm_90a; all for these), once or more, "
            "and nothing else; needs no GPU. By default the kernels for this machine's CPU and GPUs.",
        ),
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Compile the kernels before their first use.

    For example: dcnrun kernels build --dtype float32
    """
    with kept_imports():
        from dcnrun.ops.jit.aot import build_kernels as build

    return build(dtype or [], cuda or [])


def prove_kernels(
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the reports there, as JSON.")] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Show the times of another machine or day beside: a file of its --out."),
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Prove the CUDA kernels on this machine's GPUs now.

    Against the definition and torchvision's operators, and time them; without it, that is done when an operator is first used.
    """
    with kept_imports():
        from dcnrun.ops.proof.command import prove_kernels as prove

    return prove(out, against)


def bench_ops(
    device: Annotated[Device, typer.Option(help="Where: the CPU or an NVIDIA GPU.")] = Device.cpu,
    dtype: Annotated[
        list[Dtype] | None,
        typer.Option(
            metavar="DTYPE",
            help="Type of all operands: float32, float64, bfloat16 or float16, once or more; by default float32 on the CPU, "
            "and all but float64 on a GPU.",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: PyTorch's own choice.")] = 0,
    rounds: Annotated[int, typer.Option(help="Timed runs of every operator on every shape.")] = 9,
    shapes: Annotated[
        str | None, typer.Option(metavar="PARTS", help="Only shapes with one of these in their names (C64,7x7).")
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Compare deformable convolution with its peers.

    Ours, torchvision's, on the CPU those of onnxruntime, OpenVINO and deformops where they are installed, and the plain
    convolution in turn; then the peak memory of each.
    """
    with kept_imports():
        from dcnrun.bench.ops import bench_ops as compare_operators

    return compare_operators(device.value, dtype or [], threads, rounds, shapes)
