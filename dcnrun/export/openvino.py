"""Networks with deformable convolution as OpenVINO's IR: its own DeformableConvolution in the place of ONNX's DeformConv."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dcnrun.errors import DataError, DcnrunError
from dcnrun.export.formats import ExportedNetwork, ExportFormat, Quantized
from dcnrun.export.onnx import OnnxFormat
from dcnrun.export.targets import TARGETS, Settings, Target

SECTION = "dcnrun"
"""Of a file's `rt_info`, where it says what it is."""
_MOST_APART = 8
"""The most groups of weights that become a convolution each."""


class OpenvinoFormat(ExportFormat):
    """IR: an .xml with the layers, a .bin with the weights."""

    def check(self, settings: Settings) -> None:
        """Nothing can be wrong."""

    def write(
        self,
        networks: Mapping[Path, nn.Module],
        example: Tensor,
        settings: Settings,
        metadata: Mapping[str, str],
        quantized: Quantized | None = None,
    ) -> None:
        """Convert ONNX files, which are deleted; weights in fp16 are computed with in whatever precision is asked for then."""
        import openvino

        by_onnx = {path.with_suffix(".onnx"): path for path in networks}
        # Of 16 bits are the weights alone, once they are OpenVINO's; 8 bits it takes as onnxruntime has quantized the network.
        as_onnx = replace(settings, precision=None) if settings.is_half else settings
        to_write = {file: networks[path] for file, path in by_onnx.items()}
        if quantized is not None:
            by_onnx[quantized.path.with_suffix(".onnx")] = quantized.path
            quantized = replace(quantized, path=quantized.path.with_suffix(".onnx"))
        OnnxFormat().write(to_write, example, as_onnx, {}, quantized)
        core = core_with_deform_conv()
        for file, path in by_onnx.items():
            model = core.read_model(file)
            for name, text in metadata.items():
                model.set_rt_info(text, [SECTION, name])
            openvino.save_model(model, path, compress_to_fp16=settings.is_half)
            file.unlink()

    def open(self, path: Path) -> "OpenvinoNetwork":
        """A compiled model."""
        return OpenvinoNetwork(path)


class OpenvinoNetwork(ExportedNetwork):
    """IR in OpenVINO on the CPU, in fp32."""

    def __init__(self, path: Path) -> None:
        TARGETS[Target.openvino].require_installed()
        core = core_with_deform_conv()
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        try:
            model = core.read_model(path)
            self._compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise DcnrunError(f"OpenVINO can't run {path.name}: {error}") from error
        names = model.get_rt_info([SECTION]).value if model.has_rt_info([SECTION]) else ()
        self._name = path.name
        self.metadata = {name: str(model.get_rt_info([SECTION, name]).value) for name in names}

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return all outputs; DataError where OpenVINO would cut normalised images to whole numbers, which it does without a word."""
        wanted = self._compiled.input(0).element_type
        if images.is_floating_point() and not wanted.is_real():
            raise DataError(
                f"{self._name} takes whole numbers ({wanted.get_type_name()}), as networks do that normalise by themselves, but does not say so "
                "as files of `dcnrun export` do: give one that takes normalised images in floating point."
            )
        try:
            outputs = self._compiled([images.numpy()]).to_tuple()
        except RuntimeError as error:
            raise DcnrunError(f"OpenVINO fails on an input of shape {tuple(images.shape)}: {error}") from error
        return tuple(map(torch.from_numpy, outputs))


def core_with_deform_conv() -> Any:
    """Return OpenVINO, which knows DeformConv by this extension."""
    import openvino
    from openvino.frontend.onnx import ConversionExtension

    core = openvino.Core()
    core.add_extension(ConversionExtension("DeformConv", _deform_conv))
    return core


def _deform_conv(node: Any) -> list[Any]:
    """Convert a DeformConv node; OpenVINO's has the same order of weights, offsets and masks, and no bias.

    Samples between the outer pixels and the zeros beyond are interpolated only with `bilinear_interpolation_pad`.
    """
    from openvino import opset8

    operands = [node.get_input(index) for index in range(node.get_input_size())]
    input, weight, offset, bias, mask = [
        None if operand.get_node().get_type_name() == "NullNode" else operand for operand in operands
    ] + [None] * (5 - len(operands))
    groups, offset_groups = node.get_attribute("group"), node.get_attribute("offset_group")
    pads = node.get_attribute("pads")

    def convolution(operands: Sequence[Any], groups: int, offset_groups: int) -> Any:
        input, weight, offset, mask = operands
        return opset8.deformable_convolution(
            input,
            offset,
            weight,
            node.get_attribute("strides"),
            pads[:2],
            pads[2:],
            node.get_attribute("dilations"),
            mask,
            group=groups,
            deformable_group=offset_groups,
            bilinear_interpolation_pad=True,
        )

    # OpenVINO computes groups of weights hundreds of times slower than as many convolutions, which is worth it while they are few.
    alone = max(offset_groups // groups, 1)  # offset groups of one group of weights
    if 1 < groups <= _MOST_APART and 0 in (groups % offset_groups, offset_groups % groups):
        inputs, weights = opset8.split(input, 1, groups), opset8.split(weight, 0, groups)
        parts = min(groups, offset_groups)
        offsets = opset8.split(offset, 1, parts)
        masks = None if mask is None else opset8.split(mask, 1, parts)
        each = [
            convolution(
                (
                    inputs.output(group),
                    weights.output(group),
                    offsets.output(group * parts // groups),
                    None if masks is None else masks.output(group * parts // groups),
                ),
                1,
                alone,
            )
            for group in range(groups)
        ]
        output = opset8.concat(each, 1)
    else:
        output = convolution((input, weight, offset, mask), groups, offset_groups)
    if bias is not None:
        column = opset8.reshape(bias, opset8.constant([1, -1, 1, 1]), special_zero=False)
        output = opset8.add(output, column)
    return [output.output(0)]
