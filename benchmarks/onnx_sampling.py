"""What deformable sampling (DCNv3, DCNv4) costs in onnxruntime: as DeformConv with a group for each channel, or made of GridSample.

    python benchmarks/onnx_sampling.py benchmarks/results/onnx_sampling.json [rounds]

`dcnrun export` writes the layers as DeformConv, a node of the standard, with weights of one. The other way is GridSample at all
sampling points, a product with their factors and a sum over them. fp32, 3x3, stride 1, offsets N(0, 1), as many threads as
PyTorch takes; the models run in turn in one process, and must give what our operator gives.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from dcnrun.bench.machine import describe
from dcnrun.bench.timing import Work, interleaved, quartiles_ms
from dcnrun.ops import deform_sample2d

OPSET, IR_VERSION = 20, 10
POINTS = 9
TOLERANCE = 1e-4
# Batch, channels, side, groups.
SHAPES = {
    "N2 C256 32x32 G16": (2, 256, 32, 16),
    "N2 C64 64x64 G4": (2, 64, 64, 4),
    "N1 C256 64x64 G16": (1, 256, 64, 16),
    "N1 C64 32x32 G8": (1, 64, 32, 8),
}
DEFORM_CONV, GRID_SAMPLE, OURS = "onnxruntime, DeformConv", "onnxruntime, GridSample", "ours"


def model_of(nodes: list[NodeProto], constants: dict[str, np.ndarray], fed: dict[str, np.ndarray]) -> ModelProto:
    """Return a model with one output, of nodes whose constants and inputs have these names."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in fed.items()]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, fed["input"].shape)
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "sampling", inputs, [output], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def as_deform_conv(fed: dict[str, np.ndarray], groups: int) -> ModelProto:
    """Return the sampling as one node."""
    channels = fed["input"].shape[1]
    node = helper.make_node(
        "DeformConv",
        ["input", "weight", "offset", "", "mask"],
        ["output"],
        kernel_shape=[3, 3],
        pads=[1] * 4,
        group=channels,
        offset_group=groups,
    )
    return model_of([node], {"weight": np.ones((channels, 1, 3, 3), np.float32)}, fed)


def as_grid_sample(fed: dict[str, np.ndarray], groups: int) -> ModelProto:
    """Return the sampling at each group's points as if they were pixels of a feature map."""
    batch, channels, height, width = fed["input"].shape
    maps = batch * groups
    point, y, x = np.meshgrid(np.arange(POINTS), np.arange(height), np.arange(width), indexing="ij")
    base = np.stack([y - 1 + point // 3, x - 1 + point % 3], 1)[None]
    sizes = np.array([height, width]).reshape(1, 1, 2, 1, 1)
    constants = {
        # GridSample's coordinates: the outer borders of the first and last pixel are -1 and 1.
        "scale": (2 / sizes).astype(np.float32),
        "shift": ((2 * base + 1) / sizes - 1).astype(np.float32),
        "x_first": np.array([1, 0]),
        "maps": np.array([maps, channels // groups, height, width]),
        "pairs": np.array([maps, POINTS, 2, height, width]),
        "grid_shape": np.array([maps, POINTS * height, width, 2]),
        "by_point": np.array([maps, channels // groups, POINTS, height, width]),
        "factors": np.array([maps, 1, POINTS, height, width]),
        "points": np.array([2]),
        "shape": np.array([batch, channels, height, width]),
    }
    nodes = [
        helper.make_node("Reshape", ["input", "maps"], ["features"]),
        helper.make_node("Reshape", ["offset", "pairs"], ["offsets"]),
        helper.make_node("Mul", ["offsets", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["places"]),
        helper.make_node("Gather", ["places", "x_first"], ["turned"], axis=2),
        helper.make_node("Transpose", ["turned"], ["last"], perm=[0, 1, 3, 4, 2]),
        helper.make_node("Reshape", ["last", "grid_shape"], ["grid"]),
        helper.make_node("GridSample", ["features", "grid"], ["sampled"], mode="linear", align_corners=0),
        helper.make_node("Reshape", ["sampled", "by_point"], ["samples"]),
        helper.make_node("Reshape", ["mask", "factors"], ["weights"]),
        helper.make_node("Mul", ["samples", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "points"], ["sums"], keepdims=0),
        helper.make_node("Reshape", ["sums", "shape"], ["output"]),
    ]
    return model_of(nodes, constants, fed)


def works(shape: tuple[int, int, int, int]) -> dict[str, Work]:
    """Return all that is measured of one shape, once it gave the same numbers."""
    batch, channels, side, groups = shape
    generator = torch.Generator().manual_seed(0)
    operands = {
        name: torch.randn(batch, count, side, side, generator=generator)
        for name, count in (("input", channels), ("offset", 2 * POINTS * groups), ("mask", POINTS * groups))
    }
    fed = {name: operand.numpy() for name, operand in operands.items()}
    expected = deform_sample2d(**operands, kernel_size=3, padding=1).numpy()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")
    found: dict[str, Work] = {OURS: lambda: deform_sample2d(**operands, kernel_size=3, padding=1)}
    for name, build in ((DEFORM_CONV, as_deform_conv), (GRID_SAMPLE, as_grid_sample)):
        model = build(fed, groups).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        difference = np.abs(session.run(["output"], fed)[0] - expected).max()
        assert difference <= TOLERANCE * np.abs(expected).max(), (name, difference)
        found[name] = lambda session=session: session.run(["output"], fed)  # type: ignore[misc]
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("rounds", type=int, nargs="?", default=9)
    given = parser.parse_args()
    results = {}
    with torch.no_grad():
        for label, shape in SHAPES.items():
            times = {name: quartiles_ms(each) for name, each in interleaved(works(shape), given.rounds).items()}
            ratio = times[DEFORM_CONV]["median"] / times[GRID_SAMPLE]["median"]
            results[label] = {"ms": times, "deform_conv_times_grid_sample": round(ratio, 2)}
            print(label, json.dumps(results[label]))
    setting = {"dtype": "float32", "kernel": 3, "rounds": given.rounds, "threads": torch.get_num_threads()}
    given.out.write_text(json.dumps({"machine": describe(), **setting, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
