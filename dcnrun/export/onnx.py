"""Networks with deformable convolution as ONNX files."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dcnrun.errors import DataError, DcnrunError, UsageError
from dcnrun.export.description import INPUT, OF_MASKS, OF_OBJECTS, outputs_of
from dcnrun.export.exporting import Comparison, exporting
from dcnrun.export.formats import ExportedNetwork, ExportFormat, Quantized, first_cause
from dcnrun.export.onnx_operators import (
    deform_conv,
    deform_roi_pool,
    deform_sample,
    grid_deform_conv,
    grid_deform_sample,
    suppress,
)
from dcnrun.export.quantization import quantize
from dcnrun.export.targets import TARGETS, Settings, Target
from dcnrun.models.sampling import sampling_layers

FIRST_OPSET, FIRST_OPSET_DECOMPOSED = 19, 18
"""The first version of the standard with DeformConv, and the first that PyTorch's exporter writes."""
_INPUT_TYPES = ("tensor(float)", "tensor(uint8)")


@dataclass(frozen=True)
class OnnxExport:
    """A written ONNX file: its opset, its shapes (names of dimensions of any size) and its comparisons with PyTorch."""

    path: Path
    opset: int
    input_shape: list[int | str]
    output_shape: list[int | str]
    comparisons: list[Comparison]


def onnx_translations(*, decompose: bool = False) -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return the translation table that `torch.onnx.export` needs for dcnrun's operators, to export a network of your own.

        from dcnrun.export import onnx_translations

        translations = onnx_translations()
        torch.onnx.export(network, (example,), "network.onnx", dynamo=True, custom_translation_table=translations)

    The file then has DeformConv nodes of the ONNX standard, opset 19 or later, and runs wherever those do (onnxruntime
    on the CPU: 1.25 or later). With `decompose` it has GridSample nodes in their place, for readers without DeformConv:
    opset 18 or later.

    Raises:
        DcnrunError: a library is missing.
    """
    _libraries()
    convolution, sampling = (grid_deform_conv, grid_deform_sample) if decompose else (deform_conv, deform_sample)
    return {
        torch.ops.dcnrun.deform_conv2d.default: convolution,
        torch.ops.dcnrun.deform_sample2d.default: sampling,
        torch.ops.dcnrun.deform_roi_pool.default: deform_roi_pool,
        torch.ops.dcnrun.suppress.default: suppress,
    }


def export_onnx(
    network: nn.Module,
    example: Tensor,
    path: Path | str,
    *,
    opset: int = FIRST_OPSET,
    any_size: bool = True,
    inputs: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, str] | None = None,
    tolerance: float | None = None,
) -> OnnxExport:
    """Write a network as an ONNX file, after onnxruntime has shown that it gives the network's own output.

    The outputs are compared for random inputs of several shapes and for the given ones, of the network and of a copy with
    large random offsets: without offsets a wrong sampling point would not show. The file is written beside and renamed.

    Args:
        network: a network of one input (N, C, H, W) and one output. It is exported in evaluation mode and not changed.
        example: an input of the network.
        path: the file to write.
        opset: version of the ONNX standard, 19 or later.
        any_size: whether height and width stay free, as the batch always does.
        inputs: more inputs to compare, by a name for messages.
        metadata: entries of the file's `metadata_props`.
        tolerance: largest difference from PyTorch, as a share of the largest score; None: 1e-3.

    Returns:
        The shapes of input and output and every comparison. The input is named `image`, the output `scores`.

    Raises:
        UsageError: no such opset, the example is not (N, C, H, W), or the path is a folder.
        DcnrunError: a library is missing, the network can't be exported or the outputs differ; nothing is written.
    """
    size = None if any_size else (example.shape[-2], example.shape[-1])
    settings = Settings(opset=opset, size=size)
    with exporting(
        network, example, Path(path), Target.onnx, settings, inputs=inputs, metadata=metadata, tolerance=tolerance
    ) as export:
        pass
    assert isinstance(export.exported, OnnxNetwork)
    session = export.exported.session
    shapes = session.get_inputs()[0].shape, session.get_outputs()[0].shape
    return OnnxExport(Path(path), opset, *shapes, export.comparisons)


class OnnxFormat(ExportFormat):
    """ONNX files, with the standard's own DeformConv nodes."""

    def check(self, settings: Settings) -> None:
        """The opset."""
        onnx, _, _ = _libraries()
        first = _first_opset(settings)
        if not first <= _opset(settings) <= onnx.defs.onnx_opset_version():
            why = "that PyTorch writes" if settings.decompose else "with DeformConv"
            raise UsageError(
                f"opset {settings.opset}: it must be {first}, the first {why}, to {onnx.defs.onnx_opset_version()}, "
                f"the last that onnx {onnx.__version__} knows"
            )

    def write(
        self,
        networks: Mapping[Path, nn.Module],
        example: Tensor,
        settings: Settings,
        metadata: Mapping[str, str],
        quantized: Quantized | None = None,
    ) -> None:
        """Export the first network; the others are the same file with other weights, where it has kept them as they are."""
        exported = None
        for path, network in networks.items():
            written = Half(network).eval() if settings.is_half else network
            model = None if exported is None else _with_weights_of(written, exported)
            model = model or _to_onnx(written, example, settings)
            exported = exported or model
            _save(model, path, metadata)
        if quantized is not None:
            branches = _offset_branches(next(iter(networks.values()))).keys()
            in_8_bits = quantize(exported, quantized.calibration, branches, settings.quantize_deformable)
            _save(in_8_bits, quantized.path, metadata)

    def open(self, path: Path) -> "OnnxNetwork":
        """A session of onnxruntime."""
        return OnnxNetwork(path)


class OnnxNetwork(ExportedNetwork):
    """An ONNX file in onnxruntime on the CPU."""

    def __init__(self, path: Path) -> None:
        _, _, onnxruntime = _libraries()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors only
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes have no public base
            raise DcnrunError(
                f"onnxruntime {onnxruntime.__version__} can't run the network ({error}); "
                f"DeformConv needs 1.25 or later: {TARGETS[Target.onnx].install}"
            ) from error
        self.metadata = dict(self.session.get_modelmeta().custom_metadata_map)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        of_objects = tuple(output.name for output in outputs) in (OF_OBJECTS, OF_MASKS)
        if len(inputs) != 1 or (len(outputs) != 1 and not of_objects) or inputs[0].type not in _INPUT_TYPES:
            ends = (", ".join(f"{end.name}: {end.type}" for end in each) for each in (inputs, outputs))
            raise DataError(
                "{}: expected are one input, images of {}, and one output, or {}; but it has inputs {}, and outputs {}.".format(
                    path, " or ".join(_INPUT_TYPES), ", ".join(OF_OBJECTS), *ends
                )
            )
        self._input = inputs[0].name

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return all outputs."""
        try:
            outputs = self.session.run(None, {self._input: images.numpy()})
        except Exception as error:
            raise DcnrunError(f"onnxruntime fails on an input of shape {tuple(images.shape)}: {error}") from error
        return tuple(map(torch.from_numpy, outputs))


def _libraries() -> tuple[Any, Any, Any]:
    """Import onnx, onnxscript and onnxruntime, which only this part of dcnrun needs."""
    TARGETS[Target.onnx].require_installed()
    import onnx
    import onnxruntime
    import onnxscript

    return onnx, onnxscript, onnxruntime


class Half(nn.Module):
    """A network that computes in fp16, with the types of input and output that it had; the network itself stays as it is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores in fp32."""
        scores: Tensor = self.network(images.half())
        return scores.float()


def _first_opset(settings: Settings) -> int:
    return FIRST_OPSET_DECOMPOSED if settings.decompose else FIRST_OPSET


def _opset(settings: Settings) -> int:
    return _first_opset(settings) if settings.opset is None else settings.opset


def _to_onnx(network: nn.Module, example: Tensor, settings: Settings) -> Any:
    """Return the network as an onnx.ModelProto."""
    any_size = settings.any_size
    outputs = outputs_of(network)
    one_image = len(outputs) > 1
    free = {2: "height", 3: "width"} if any_size else {}
    if not one_image:
        free = {0: "batch", **free}
    # The exporter would take a batch of one for a constant.
    batch = example if one_image or len(example) > 1 else torch.cat([example, example])
    try:
        program = torch.onnx.export(
            network,
            (batch,),
            dynamo=True,
            verbose=False,
            opset_version=_opset(settings),
            input_names=[INPUT],
            output_names=outputs,
            dynamic_shapes=(free,),
            custom_translation_table=onnx_translations(decompose=bool(settings.decompose)),
        )
    except torch.onnx.OnnxExporterError as error:
        advice = "; a fixed size may help" if any_size else ""
        raise DcnrunError(f"PyTorch can't export the network{advice}: {first_cause(error)}") from error
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:  # stack traces would name the folders of the machine that wrote a published file
        kept = [entry for entry in node.metadata_props if "stack_trace" not in entry.key]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    return model


def _save(model: Any, path: Path, metadata: Mapping[str, str]) -> None:
    onnx, _, _ = _libraries()
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _offset_branches(network: nn.Module) -> dict[str, nn.Module]:
    """Return what predicts offsets and masks by its name in the network."""
    layers = sampling_layers(network).items()
    return {f"{name}.offset_branch" if name else "offset_branch": layer.offset_branch for name, layer in layers}


def _with_weights_of(network: nn.Module, model: Any) -> Any | None:
    """Return a copy of the model with what differs in this network: its offset branches, and the least score of a detector.

    That saves the second of two exports, and tests the very graph that is written. None where the model has not kept the names of
    these weights.
    """
    onnx, _, _ = _libraries()
    weights: dict[str, Tensor] = {
        f"{branch}.{name}": weight
        for branch, module in _offset_branches(network).items()
        for name, weight in module.named_parameters()
    }
    weights |= {name: buffer for name, buffer in network.named_buffers() if name.endswith("least_score")}
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    initializers = {initializer.name: initializer for initializer in changed.graph.initializer}
    if not weights.keys() <= initializers.keys():
        return None
    for name, weight in weights.items():
        initializers[name].CopyFrom(onnx.numpy_helper.from_array(weight.detach().numpy(), name))
    return changed
