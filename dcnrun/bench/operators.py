"""The operators that are compared, ready to run: ours, its peers, and the plain convolution as the floor."""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torchvision.ops
from torch import Tensor
from torch.nn import functional as F

from dcnrun.bench.memory import Sized, peak_extra_bytes
from dcnrun.ops import deform_conv2d, deform_sample2d

OURS, OURS_NCHW, OURS_DETERMINISTIC = "ours", "ours, NCHW", "ours, deterministic"
SAMPLING = "ours, sampling"  # of DCNv3 and DCNv4, which have no weights: another function, of the same feature map
TORCHVISION, TORCHVISION_FP16, TORCHVISION_FP32 = "torchvision", "torchvision fp16", "torchvision fp32"
ONNXRUNTIME, OPENVINO, DEFORMOPS, CONV2D = "onnxruntime", "openvino", "deformops", "conv2d"
FORWARD, BACKWARD, BOTH = "forward", "backward", "forward + backward"
CPU = torch.device("cpu")
_TORCHVISIONS = (TORCHVISION, TORCHVISION_FP16, TORCHVISION_FP32)
_NCHW = (*_TORCHVISIONS, ONNXRUNTIME, OPENVINO, OURS_NCHW)
# Images that torchvision makes columns of at once.
_TORCHVISION_IMAGES = 32
_CHANNELS_OF_GROUP = 16  # as DCNv3 and DCNv4 have


# Of an operator with its operands: each gives its results, the output and then the gradients.
Passes = dict[str, Callable[[], Sequence[Sized]]]


@dataclass(frozen=True)
class Case:
    """A modulated layer of stride 1 that keeps the feature map's size, with as many channels out as in."""

    batch: int
    channels: int
    size: int | tuple[int, int]  # of the feature map: height and width, or one number where they are equal
    kernel: int = 3
    offset_groups: int = 1
    reference: bool = False  # one of those that ratios are averaged over

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def name(self) -> str:
        """The name, such as N2 C64 64x64, with what is not a 3x3 kernel of one offset group."""
        kernel = "" if self.kernel == 3 else f" {self.kernel}x{self.kernel} kernel"
        groups = "" if self.offset_groups == 1 else f" {self.offset_groups} offset groups"
        height, width = self.sides
        return f"N{self.batch} C{self.channels} {height}x{width}{kernel}{groups}"

    @property
    def pixels(self) -> int:
        """Pixels of a feature map."""
        height, width = self.sides
        return height * width

    def columns_bytes(self, dtype: torch.dtype) -> int:
        """The columns that torchvision makes of the input: what it needs beyond its results, at least."""
        images = min(self.batch, _TORCHVISION_IMAGES)
        return self.kernel**2 * self.channels * self.pixels * images * dtype.itemsize

    def least_operand_bytes(self, dtype: torch.dtype) -> int:
        """Input and weight: what every operator reads, and the plain convolution nothing else."""
        return (self.batch * self.pixels + self.channels * self.kernel**2) * self.channels * dtype.itemsize


# For what does not depend on the size.
TINY = Case(1, 64, 8)


def make_candidate(
    name: str, case: Case, dtype: torch.dtype, device: torch.device = CPU, positions: torch.dtype | None = None
) -> Passes:
    """Make an operator for a case; the operands' values are the same for all, offsets are N(0, 1).

    `positions` is the dtype of offsets and masks, where it is another.
    """
    memory_format = torch.contiguous_format if name in _NCHW else torch.channels_last
    dtype = dtype_of(name, dtype)
    if name == SAMPLING:
        case = replace(case, offset_groups=max(1, case.channels // _CHANNELS_OF_GROUP))
    operands = _operands(case, dtype, positions or dtype, memory_format, device)
    input, offset, mask, weight, grad_output = operands
    padding = case.kernel // 2
    if name == CONV2D:
        return _in_torch(lambda: F.conv2d(input, weight, padding=padding), [input, weight], grad_output)
    if name == ONNXRUNTIME:
        return _in_onnxruntime(case, input, offset, mask, weight)
    if name == OPENVINO:
        return _in_openvino(case, input, offset, mask, weight)
    if name == SAMPLING:
        sample = functools.partial(deform_sample2d, input, offset, mask, case.kernel, padding=padding)
        return _in_torch(sample, [input, offset, mask], grad_output)
    function = _function(name)

    def convolve() -> Tensor:
        output: Tensor = function(input, offset, weight, padding=padding, mask=mask)
        return output

    candidate = _in_torch(convolve, [input, offset, mask, weight], grad_output)
    return _deterministic(candidate) if name == OURS_DETERMINISTIC else candidate


def _function(name: str) -> Callable[..., Tensor]:
    """Return what computes a candidate, with the arguments of torchvision's function."""
    if name in _TORCHVISIONS:
        return torchvision.ops.deform_conv2d  # type: ignore[no-any-return]
    if name == DEFORMOPS:
        from deformops.integrations.torchvision import deform_conv2d as function

        return function  # type: ignore[no-any-return]
    return deform_conv2d


def dtype_of(name: str, dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of an operator's operands: that of all, unless its name says another."""
    return {TORCHVISION_FP16: torch.float16, TORCHVISION_FP32: torch.float32}.get(name, dtype)


def unavailable(names: Iterable[str], dtype: torch.dtype, device: torch.device = CPU) -> dict[str, str]:
    """Return which of the peers can't be run here with this dtype, and why."""
    reasons = {}
    for name in names:
        try:
            for work in make_candidate(name, TINY, dtype, device).values():
                work()
        except Exception as error:  # each fails in its own ways
            reasons[name] = one_line(error)
    return reasons


def one_line(error: Exception) -> str:
    """Return what went wrong, in one line."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def extra_memory(name: str, case: Case, dtype: torch.dtype, pass_: str, threads: int) -> int:
    """Measure the peak memory of one pass beyond operands and results, in bytes; for a fresh process."""
    torch.set_num_threads(threads)
    work = make_candidate(name, case, dtype)[pass_]
    # Loads libraries and starts threads, which is no memory of the operator's.
    make_candidate(name, replace(case, batch=1, size=8), dtype)[pass_]()
    return peak_extra_bytes(work)


def _operands(
    case: Case, dtype: torch.dtype, positions: torch.dtype, memory_format: torch.memory_format, device: torch.device
) -> list[Tensor]:
    """Input, offset, mask, weight and the output's gradient."""
    generator = torch.Generator(device).manual_seed(0)
    points = case.kernel**2 * case.offset_groups

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    operands = [
        random(case.batch, case.channels, *case.sides),
        random(case.batch, 2 * points, *case.sides),
        random(case.batch, points, *case.sides).sigmoid(),
        random(case.channels, case.channels, case.kernel, case.kernel),
        random(case.batch, case.channels, *case.sides),
    ]
    dtypes = (dtype, positions, positions, dtype, dtype)
    return [operand.to(dtype=its, memory_format=memory_format) for operand, its in zip(operands, dtypes, strict=True)]


def _in_torch(compute: Callable[[], Tensor], learnt: list[Tensor], grad_output: Tensor) -> Passes:
    for operand in learnt:
        operand.requires_grad_()
    computed = functools.cache(compute)

    def forward() -> list[Tensor]:
        with torch.no_grad():
            return [compute()]

    def backward() -> list[Tensor]:
        return [*torch.autograd.grad(computed(), learnt, grad_output, retain_graph=True)]

    def both() -> list[Tensor]:
        output = compute()
        return [output.detach(), *torch.autograd.grad(output, learnt, grad_output)]

    return {FORWARD: forward, BACKWARD: backward, BOTH: both}


def _deterministic(candidate: Passes) -> Passes:
    """Return the candidate as PyTorch computes it when it is asked for the same bits on every run."""

    def switched(work: Callable[[], Sequence[Sized]]) -> Sequence[Sized]:
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)
        try:
            return work()
        finally:
            torch.use_deterministic_algorithms(before)

    return {pass_: functools.partial(switched, work) for pass_, work in candidate.items()}


def _in_onnxruntime(case: Case, input: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Passes:
    """Make a model of one DeformConv node, its weight a constant."""
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

    return {FORWARD: forward}


def _in_openvino(case: Case, input: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Passes:
    """Make a model of one DeformableConvolution-8 node, its weight a constant, that samples as all others do."""
    import openvino
    from openvino import opset8

    fed = [input.numpy(), offset.numpy(), mask.numpy()]
    parameters = [opset8.parameter(array.shape, array.dtype) for array in fed]
    half = [case.kernel // 2] * 2
    node = opset8.deformable_convolution(
        *parameters[:2],
        opset8.constant(weight.numpy()),
        strides=[1, 1],
        pads_begin=half,
        pads_end=half,
        dilations=[1, 1],
        mask=parameters[2],
        deformable_group=case.offset_groups,
        bilinear_interpolation_pad=True,
    )
    threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(openvino.Model([node], parameters), "CPU", threads)
    request = compiled.create_infer_request()

    def forward() -> list[Any]:
        return [*request.infer(fed, share_inputs=True, share_outputs=True).values()]

    return {FORWARD: forward}
