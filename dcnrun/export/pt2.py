"""Networks as .pt2 files, which PyTorch runs without dcnrun: `torch.export` programs, and AOTInductor's packages of compiled code.

Reading either runs what is in it: a program may hold pickled objects, a package is a library. Only their metadata is read here
before somebody has said that a file is to be trusted.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
import torch._inductor
from torch import Tensor, nn
from torch._inductor import cpp_builder
from torch._inductor.exc import InvalidCxxCompiler
from torch.export import Dim, ExportedProgram

from dcnrun.errors import DataError, DcnrunError
from dcnrun.export.decompositions import DECOMPOSITIONS
from dcnrun.export.description import outputs_of
from dcnrun.export.formats import ExportedNetwork, ExportFormat, Quantized, first_cause, read_metadata
from dcnrun.export.targets import Settings

METADATA = "dcnrun.json"
"""The name of what a program says of itself, among its extra files."""
_OF_PACKAGES = "data/aotinductor/"
_OF_COMPILER = "AOTI_"
"""How the names begin that AOTInductor adds to the metadata."""


class ProgramFormat(ExportFormat):
    """Programs of `torch.export`: the network's graph and weights, computed by PyTorch operator by operator."""

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
        """Export once; the others have the same graph and weights of their own."""
        for file, program in _programs(networks, example, settings):
            torch.export.save(program, file, extra_files={METADATA: json.dumps(dict(metadata))})

    def open(self, path: Path) -> ExportedNetwork:
        """Load a program, or a package, whose names end alike."""
        return PackageNetwork(path) if _is_package(path) else ProgramNetwork(path)


class PackageFormat(ProgramFormat):
    """Packages of AOTInductor: the program compiled for the CPU of this machine.

    For one size it is compiled for one image too: then convolutions are packed and laid out ahead, in half the time
    (`benchmarks/results/deployment.json`); those of detectors are not.
    """

    def write(
        self,
        networks: Mapping[Path, nn.Module],
        example: Tensor,
        settings: Settings,
        metadata: Mapping[str, str],
        quantized: Quantized | None = None,
    ) -> None:
        """Compile each, which takes a minute."""
        _require_compiler()
        settled = not settings.any_size
        finds_objects = len(outputs_of(next(iter(networks.values())))) > 1  # whose constants freezing loses
        options = {"aot_inductor.metadata": dict(metadata), "freezing": settled and not finds_objects}
        for file, program in _programs(networks, example, settings, one_image=settled):
            try:
                with torch.no_grad():
                    torch._inductor.aoti_compile_and_package(
                        program, package_path=str(file), inductor_configs=dict(options)
                    )
            except Exception as error:  # PyTorch's, of many classes, or what the compiler says
                raise DcnrunError(f"AOTInductor can't compile the network: {first_cause(error)}") from error


class ProgramNetwork(ExportedNetwork):
    """A program in PyTorch on the CPU."""

    def __init__(self, path: Path) -> None:
        extra = {METADATA: ""}
        try:
            self._module = torch.export.load(path, extra_files=extra).module()
        except Exception as error:
            raise DcnrunError(f"PyTorch {torch.__version__} can't load {path}: {first_cause(error)}") from error
        self.metadata = read_metadata(extra[METADATA] or "{}", f"{path}: its {METADATA}")

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return all outputs."""
        return _called(self._module, images)


class PackageNetwork(ExportedNetwork):
    """A package in its own compiled code, which may be for one image at a time."""

    def __init__(self, path: Path) -> None:
        try:
            self._model = torch._inductor.aoti_load_package(str(path))
        except Exception as error:
            raise DcnrunError(f"PyTorch {torch.__version__} can't load {path}: {first_cause(error)}") from error
        own = self._model.get_metadata().items()
        self.metadata = {name: text for name, text in own if not name.startswith(_OF_COMPILER)}

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return all outputs."""
        of_images = [_called(self._model, image) for image in torch.split(images, 1)]
        return tuple(map(torch.cat, zip(*of_images, strict=True)))


def _require_compiler() -> None:
    """Raise DcnrunError where PyTorch finds no C++ compiler."""
    try:
        cpp_builder.get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise DcnrunError(f"AOTInductor needs a C++ compiler, such as g++: {first_cause(error)}") from error


def _programs(
    networks: Mapping[Path, nn.Module], example: Tensor, settings: Settings, one_image: bool = False
) -> Iterator[tuple[Path, ExportedProgram]]:
    """Yield a program for each network by its file: one graph, which the weights of each go into in turn."""
    first = copy.deepcopy(next(iter(networks.values())))
    program = _exported(first, example, settings.any_size, one_image)
    for file, network in networks.items():
        weights = network.state_dict()
        for name, tensor in program.state_dict.items():
            tensor.data.copy_(weights[name])
        yield file, program


def _exported(network: nn.Module, example: Tensor, any_size: bool, one_image: bool) -> ExportedProgram:
    """Return the network as a program that has operators of PyTorch's own alone."""
    one_image = one_image or len(outputs_of(network)) > 1
    axes = (*(() if one_image else (0,)), *((2, 3) if any_size else ()))
    free = dict.fromkeys(axes, Dim.DYNAMIC)
    # The example goes into the file: no image of a data set. A batch of one is taken for a constant.
    batch = example.new_zeros(1 if one_image else 2, *example.shape[1:])
    try:
        exported = torch.export.export(network, (batch,), dynamic_shapes=(free,))
        program: ExportedProgram = exported.run_decompositions(dict(DECOMPOSITIONS))
    except Exception as error:  # PyTorch's, of many classes
        advice = "; a fixed size may help" if any_size else ""
        raise DcnrunError(f"PyTorch can't export the network{advice}: {first_cause(error)}") from error
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # it names the folders of the machine that wrote a published file
    return program


def _called(network: Any, images: Tensor) -> tuple[Tensor, ...]:
    try:
        with torch.no_grad():
            outputs = network(images)
    except Exception as error:
        raise DcnrunError(f"PyTorch fails on an input of shape {tuple(images.shape)}: {first_cause(error)}") from error
    outputs = tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)
    for output in outputs:
        if not isinstance(output, Tensor):
            raise DataError(f"An output of the network is a {type(output).__name__}; a tensor is expected.")
    return outputs


def _is_package(path: Path) -> bool:
    """Whether a file holds compiled code; DataError where it is no archive."""
    try:
        with ZipFile(path) as archive:
            return any(f"/{_OF_PACKAGES}" in f"/{name}" for name in archive.namelist())
    except (BadZipFile, OSError) as error:
        raise DataError(f"{path} is no .pt2 file of PyTorch: {error}") from error
