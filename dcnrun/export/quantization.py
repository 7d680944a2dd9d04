"""ONNX networks in 8 bits, by onnxruntime's own static quantization; what places sampling points stays in fp32 unless it is asked for."""

import ast
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from dcnrun.console import console
from dcnrun.data import LabelledDataset
from dcnrun.data.sample import even_indices
from dcnrun.errors import DcnrunError
from dcnrun.export.description import INPUT
from dcnrun.training.progress import ImageProgress

OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Concat", "Relu", "Clip", "MaxPool", "AveragePool")
"""What is computed in 8 bits: where time goes, and what lies between and would be turned into floats and back."""

_OUR_OPERATORS = "torch.ops.dcnrun."
"""In what the exporter notes of a node that it made of one of our operators."""
_PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}
"""By which onnxruntime knows that what it asks for before was done: the exporter has folded constants and inferred shapes."""


@dataclass(frozen=True)
class Calibration:
    """Training images, evenly over the set, from which the ranges of 8-bit numbers are measured; they are read anew each time."""

    dataset: LabelledDataset[Any, Any]
    most: int
    """The most images that are taken."""
    prepared: Callable[[Any], Tensor]
    """Makes what the network takes (1, C, H, W) of a sample."""

    def __len__(self) -> int:
        return min(self.most, len(self.dataset))

    def __iter__(self) -> Iterator[Tensor]:
        console.print(f"Measuring the ranges of 8-bit numbers on {len(self)} training images.")
        with ImageProgress(len(self)) as progress:
            for index in even_indices(len(self.dataset), self.most):
                yield self.prepared(self.dataset[index])
                progress.advance()


def quantize(model: Any, images: Iterable[Tensor], offset_branches: AbstractSet[str], deformable: bool) -> Any:
    """Return an onnx.ModelProto in 8 bits: weights of convolutions by channel, activations by ranges seen in the images.

    Integers stand between QuantizeLinear and DequantizeLinear nodes of the standard, which runtimes compute as one with the node
    between. Weights are signed and activations unsigned, as x86 multiplies them.

    Args:
        model: as the exporter has written it, in fp32; it is changed. Metadata are lost.
        images: what the network takes, each (1, C, H, W).
        offset_branches: the names of the modules that predict offsets and masks.
        deformable: whether these, and the convolutions that samples go through, are in 8 bits too. DeformConv, GridSample and the
            arithmetic of positions never are: no runtime has them so, and 8 bits of a position would be few.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    kept = _kept_in_fp32(model, offset_branches, deformable)
    onnx.helper.set_model_props(model, _PREPARED)
    with TemporaryDirectory(prefix="dcnrun-export-") as folder:
        file = Path(folder, "model.onnx")
        try:
            quantize_static(
                model,
                file,
                _Reader(images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
                op_types_to_quantize=list(OPERATORS),
                nodes_to_exclude=kept,
            )
        except DcnrunError:  # an image that can't be read
            raise
        except Exception as error:  # its classes have no public base
            raise DcnrunError(f"onnxruntime can't quantize the network: {error}") from error
        return onnx.load(file)


class _Reader:
    """Images as onnxruntime asks for them."""

    def __init__(self, images: Iterable[Tensor]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._images, None)
        return None if image is None else {INPUT: image.numpy()}


def _kept_in_fp32(model: Any, offset_branches: AbstractSet[str], deformable: bool) -> list[str]:
    """Return the names of the nodes that place sampling points and sample, and unless `deformable` of the convolutions before and after."""
    kept, sampled = [], set()
    for node in model.graph.node:
        notes = {entry.key.removeprefix("pkg.torch.onnx."): entry.value for entry in node.metadata_props}
        of_operator = _OUR_OPERATORS in notes.get("fx_node", "")
        of_branch = bool(offset_branches & set(ast.literal_eval(notes.get("name_scopes", "[]"))))
        is_convolution = node.op_type == "Conv"
        of_layer = of_branch or (is_convolution and (of_operator or node.input[0] in sampled))
        if of_operator:
            sampled.update(node.output)
        if (of_operator and not is_convolution) or (of_layer and not deformable):
            kept.append(node.name)
    return kept
