"""The operators that are compared, ready to run: ours, its peers, and the plain convolution as the floor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torchvision.ops
from torch import Tensor
from torch.nn import functional as F

from dcnrun.bench.memory import Sized, peak_extra_bytes
from dcnrun.ops import deform_conv2d

OURS, OURS_NCHW, TORCHVISION, ONNXRUNTIME, CONV2D = "ours", "ours, NCHW", "torchvision", "onnxruntime", "conv2d"
FORWARD, BOTH = "forward", "forward + backward"
PASSES = (FORWARD, BOTH)
# Images that torchvision makes columns of at once.
_TORCHVISION_IMAGES = 32


@dataclass(frozen=True)
class Case:
    """A modulated layer of stride 1 that keeps the map's size, with as many channels out as in."""

    batch: int
    channels: int
    size: int
    kernel: int = 3
    offset_groups: int = 1
    reference: bool = False  # one of the five that ratios are averaged over

    @property
    def name(self) -> str:
        """Such as N2 C64 64x64, and what is not a 3x3 kernel of one offset group."""
        kernel = "" if self.kernel == 3 else f" {self.kernel}x{self.kernel} kernel"
        groups = "" if self.offset_groups == 1 else f" {self.offset_groups} offset groups"
        return f"N{self.batch} C{self.channels} {self.size}x{self.size}{kernel}{groups}"

    def columns_bytes(self, dtype: torch.dtype) -> int:
        """The columns that torchvision makes of the input: what it needs beyond its results, at least."""
        images = min(self.batch, _TORCHVISION_IMAGES)
        return self.kernel**2 * self.channels * self.size**2 * images * dtype.itemsize


CASES = (
    Case(2, 64, 64, reference=True),
    Case(2, 128, 32, reference=True),
    Case(2, 256, 32, reference=True),
    Case(1, 256, 64, reference=True),
    Case(2, 256, 32, offset_groups=4, reference=True),
    Case(2, 64, 56),
    Case(2, 256, 14),
    Case(2, 128, 32, kernel=1),
    Case(2, 64, 32, kernel=7),
)


@dataclass(frozen=True)
class Candidate:
    """An operator with its operands: each pass gives its results, the output and then the gradients."""

    passes: dict[str, Callable[[], Sequence[Sized]]]


def make_candidate(name: str, case: Case, dtype: torch.dtype) -> Candidate:
    """An operator for a case; the operands' values are the same for all, offsets are N(0, 1)."""
    padding = case.kernel // 2
    operands = _operands(case, dtype, torch.channels_last if name in (OURS, CONV2D) else torch.contiguous_format)
    input, offset, mask, weight, grad_output = operands
    if name == CONV2D:
        return _in_torch(lambda: F.conv2d(input, weight, padding=padding), [input, weight], grad_output)
    if name == ONNXRUNTIME:
        return _in_onnxruntime(case, input, offset, mask, weight)
    function = torchvision.ops.deform_conv2d if name == TORCHVISION else deform_conv2d

    def convolve() -> Tensor:
        output: Tensor = function(input, offset, weight, padding=padding, mask=mask)
        return output

    return _in_torch(convolve, [input, offset, mask, weight], grad_output)


def unavailable(dtype: torch.dtype) -> dict[str, str]:
    """Which peers can't be run here with this dtype, and why."""
    reasons = {}
    for name in (TORCHVISION, ONNXRUNTIME, CONV2D):
        try:
            for work in make_candidate(name, _tiny(CASES[0]), dtype).passes.values():
                work()
        except Exception as error:  # each fails in its own ways
            reasons[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return reasons


def extra_memory(name: str, case: Case, dtype: torch.dtype, pass_: str, threads: int) -> int:
    """Peak memory of one pass beyond operands and results, in bytes; for a fresh process."""
    torch.set_num_threads(threads)
    work = make_candidate(name, case, dtype).passes[pass_]
    # Loads libraries and starts threads, which is no memory of the operator's.
    make_candidate(name, _tiny(case), dtype).passes[pass_]()
    return peak_extra_bytes(work)


def _tiny(case: Case) -> Case:
    return replace(case, batch=1, size=8)


def _operands(case: Case, dtype: torch.dtype, memory_format: torch.memory_format) -> list[Tensor]:
    """Input, offset, mask, weight and the output's gradient."""
    generator = torch.Generator().manual_seed(0)
    taps = case.kernel**2 * case.offset_groups

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    operands = [
        random(case.batch, case.channels, case.size, case.size),
        random(case.batch, 2 * taps, case.size, case.size),
        random(case.batch, taps, case.size, case.size).sigmoid(),
        random(case.channels, case.channels, case.kernel, case.kernel),
        random(case.batch, case.channels, case.size, case.size),
    ]
    return [operand.to(dtype=dtype, memory_format=memory_format) for operand in operands]


def _in_torch(compute: Callable[[], Tensor], learnt: list[Tensor], grad_output: Tensor) -> Candidate:
    for operand in learnt:
        operand.requires_grad_()

    def forward() -> list[Tensor]:
        with torch.no_grad():
            return [compute()]

    def both() -> list[Tensor]:
        output = compute()
        return [output.detach(), *torch.autograd.grad(output, learnt, grad_output)]

    return Candidate({FORWARD: forward, BOTH: both})


def _in_onnxruntime(case: Case, input: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Candidate:
    """A model of one DeformConv node, its weight a constant."""
    import onnxruntime
    from onnx import helper, numpy_helper

    fed = {"input": input.numpy(), "offset": offset.numpy(), "mask": mask.numpy()}
    constant = numpy_helper.from_array(weight.numpy(), "weight")
    half = case.kernel // 2
    node = helper.make_node(
        "DeformConv",
        ["input", "weight", "offset", "", "mask"],
        ["output"],
        kernel_shape=[case.kernel] * 2,
        pads=[half] * 4,
        offset_group=case.offset_groups,
    )
    described = [helper.make_tensor_value_info(name, constant.data_type, array.shape) for name, array in fed.items()]
    output = helper.make_tensor_value_info("output", constant.data_type, input.shape)
    graph = helper.make_graph([node], "operator", described, [output], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Its threads would spin on and take the next candidate's cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def forward() -> list[Any]:
        outputs: list[Any] = session.run(["output"], fed)
        return outputs

    return Candidate({FORWARD: forward})
