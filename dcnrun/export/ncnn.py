"""Networks for ncnn, through pnnx: a .param file of text, a .bin file of weights, and a .json file of what they are."""

import copy
import json
import shutil
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from dcnrun.errors import DataError, DcnrunError, UsageError
from dcnrun.export.formats import ExportedNetwork, ExportFormat, Quantized, read_metadata
from dcnrun.export.targets import Settings
from dcnrun.models.conv import DeformConv2d
from dcnrun.models.sampling import sampling_layers
from dcnrun.runs import read_bytes

WEIGHTS, METADATA = ".bin", ".json"
"""How the names of the files beside the .param file end."""
_OTHER_SIZE = 32
"""Pixels that a second example is smaller and larger: where two sizes are shown, pnnx writes neither down."""


class NcnnFormat(ExportFormat):
    """ncnn's own files."""

    def check(self, settings: Settings) -> None:
        """Nothing that `Settings` has can be wrong here."""

    def write(
        self,
        networks: Mapping[Path, nn.Module],
        example: Tensor,
        settings: Settings,
        metadata: Mapping[str, str],
        quantized: Quantized | None = None,
    ) -> None:
        """Trace, and convert by pnnx; UsageError for layers that ncnn does not have."""
        for file, network in networks.items():
            with TemporaryDirectory(prefix="dcnrun-pnnx-") as folder:
                converted = _converted(_for_pnnx(network), example[:1], settings, Path(folder))
                shutil.move(converted, file)
                shutil.move(converted.with_suffix(WEIGHTS), file.with_suffix(WEIGHTS))
            file.with_suffix(METADATA).write_text(json.dumps(dict(metadata), indent=1), encoding="utf-8")

    def open(self, path: Path) -> "NcnnNetwork":
        """A net of ncnn."""
        return NcnnNetwork(path)


class NcnnNetwork(ExportedNetwork):
    """ncnn's files on the CPU, in fp32; it sees images one at a time."""

    def __init__(self, path: Path) -> None:
        weights = path.with_suffix(WEIGHTS)
        if not weights.is_file():
            raise UsageError(f"{path}: its weights, {weights.name}, are not beside it.")
        self.metadata = _metadata(path)
        import ncnn

        self._library, self._net = ncnn, ncnn.Net()
        options = self._net.opt
        options.num_threads = torch.get_num_threads()
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        # ncnn says what it lacks on standard error; it returns numbers.
        if self._net.load_param(str(path)) or self._net.load_model(str(weights)):
            raise DcnrunError(
                f"ncnn {ncnn.__version__} can't load {path}: it lacks a layer, or the file is none of its own."
            )
        if (len(self._net.input_names()), len(self._net.output_names())) != (1, 1):
            raise DataError(f"{path}: a network of one input and one output is expected.")

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the scores (N, C, H, W)."""
        return (torch.stack([self._run_one(image) for image in images]),)

    def _run_one(self, image: Tensor) -> Tensor:
        (input,), (output,) = self._net.input_names(), self._net.output_names()
        with self._net.create_extractor() as extractor:
            extractor.input(input, self._library.Mat(np.ascontiguousarray(image.numpy())).clone())
            failed, scores = extractor.extract(output)
            if failed:
                raise DcnrunError(f"ncnn fails on an image of shape {tuple(image.shape)} (code {failed}).")
            return torch.from_numpy(np.array(scores))


class _DeformableConvolution(nn.Module):
    """A deformable layer made of modules that pnnx knows."""

    def __init__(self, layer: DeformConv2d) -> None:
        super().__init__()
        self._split_branch = layer.split_branch
        geometry: Any = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        branch = layer.offset_branch
        assert isinstance(branch, nn.Conv2d)
        self.branch = nn.Conv2d(branch.in_channels, branch.out_channels, *geometry)
        self.branch.load_state_dict(branch.state_dict())
        has_bias = layer.bias is not None
        self.convolution = torchvision.ops.DeformConv2d(layer.in_channels, layer.out_channels, *geometry, bias=has_bias)
        self.convolution.weight, self.convolution.bias = layer.weight, layer.bias

    def forward(self, input: Tensor) -> Tensor:
        offset, mask = self._split_branch(self.branch(input))
        output: Tensor = self.convolution(input, offset, mask)
        return output


def _for_pnnx(network: nn.Module) -> nn.Module:
    """Return a copy whose deformable layers are torchvision's; UsageError where ncnn can't compute one."""
    changed = copy.deepcopy(network)
    for name, layer in sampling_layers(changed).items():
        if not isinstance(layer, DeformConv2d):
            raise UsageError(
                f"--to ncnn: ncnn has no layer like {name} ({type(layer).__name__}); deformable and modulated convolution it has."
            )
        for setting in ("offset_groups", "groups"):
            if (groups := getattr(layer, setting)) > 1:
                # pnnx says nothing: offset groups it drops, and other numbers come out.
                raise UsageError(
                    f"--to ncnn: layer {name} has {setting}={groups}; the deformable convolution of ncnn has no groups."
                )
        if isinstance(layer.padding, str):
            raise UsageError(f"--to ncnn: layer {name} has padding={layer.padding!r}; give it in pixels.")
        parent, _, last = name.rpartition(".")
        if not last:
            return _DeformableConvolution(layer)
        setattr(changed.get_submodule(parent), last, _DeformableConvolution(layer))
    return changed


def _converted(network: nn.Module, example: Tensor, settings: Settings, folder: Path) -> Path:
    """Return the .param file that pnnx makes of a network in a folder, its weights beside it."""
    import pnnx

    shapes = [example.shape]
    if settings.any_size:
        *first, height, width = example.shape
        shapes.append(torch.Size([*first, height + _OTHER_SIZE, width + 2 * _OTHER_SIZE]))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is what pnnx needs, though PyTorch would rather export
        traced: Any = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
    traced.save(folder / "network.pt")
    inputs = [
        f"inputshape{number}=[{','.join(map(str, shape))}]f32" for number, shape in zip(("", "2"), shapes, strict=False)
    ]
    command = [pnnx.EXEC_PATH, "network.pt", *inputs, f"fp16={int(settings.is_half)}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    converted = folder / "network.ncnn.param"
    if done.returncode or not converted.is_file():  # it may fail and exit with 0
        last = (done.stderr.strip() or done.stdout.strip() or "nothing was said").splitlines()[-1]
        raise DcnrunError(f"pnnx can't convert the network (exit status {done.returncode}): {last}")
    return converted


def _metadata(path: Path) -> dict[str, str]:
    """Return what the .json file beside says; nothing where there is none."""
    file = path.with_suffix(METADATA)
    if not file.is_file():
        return {}
    return read_metadata(read_bytes(file), str(file))
