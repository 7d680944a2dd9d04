"""A CUDA kernel from its name: taken from the cache or compiled, loaded once per GPU in a process, and launched.

The driver is called through `cuda.bindings`, which take half of the time of ctypes for a launch.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import addressof, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dcnrun.ops.jit.build import Built, find_or_build, work_folder
from dcnrun.ops.jit.build_spec import cuda_build_spec
from dcnrun.ops.jit.errors import KernelUnavailable
from dcnrun.ops.jit.memoize import memoize
from dcnrun.ops.jit.nvrtc import SECONDS_TO_COMPILE, best_architecture, compile_image, find_nvrtc


class CudaModule:
    """The kernels of one source, loaded on one GPU."""

    def __init__(self, image: bytes, index: int) -> None:
        from cuda.bindings import driver

        self._driver = driver
        self._index = index
        _checked(driver.cuInit(0))
        # The one that torch uses. It is never released: kernels stay as long as the process.
        self._context = _checked(driver.cuDevicePrimaryCtxRetain(_checked(driver.cuDeviceGet(index))))
        self._functions: dict[str, tuple[Any, int]] = {}
        self._one_prepares = threading.Lock()
        with self._loading():
            self._module = _checked(driver.cuModuleLoadData(image))

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        parameters: ctypes.Structure,
        shared_bytes: int = 0,
    ) -> None:
        """Start a kernel on torch's current stream of this GPU, whichever GPU is the current one.

        Args:
            kernel: its name in the source, where it is `extern "C"`.
            grid: blocks in x, y and z.
            block: threads of a block in x, y and z.
            parameters: its one parameter, a struct that is passed by value; free to change once this returns.
            shared_bytes: dynamic shared memory of a block, as much as the GPU has.

        Raises:
            RuntimeError: the driver refuses, as for a kernel that is not there or a grid that is too large.
        """
        function, granted = self._functions.get(kernel, (None, 0))
        if function is None or shared_bytes > granted:
            function = self._prepare(kernel, shared_bytes)
        stream = _stream(self._index)
        address = c_void_p(addressof(parameters))  # a kernel is given those of all its parameters
        driver = self._driver
        # Not every thread has a current context: those that torch starts for a backward pass may have none yet.
        (status,) = driver.cuCtxPushCurrent(self._context)
        if status:
            raise RuntimeError(f"{kernel}: {_describe(status)}")
        try:
            (status,) = driver.cuLaunchKernel(function, *grid, *block, shared_bytes, stream, addressof(address), 0)
        finally:
            driver.cuCtxPopCurrent()
        if status:
            raise RuntimeError(f"{kernel}: a launch of {grid} blocks of {block} threads failed: {_describe(status)}")

    def _prepare(self, kernel: str, shared_bytes: int) -> Any:
        """The handle of a kernel that may use this much shared memory."""
        driver = self._driver
        with self._one_prepares, self._loading():
            function, granted = self._functions.get(kernel, (None, 0))
            if function is None:
                # Where the driver loads kernels lazily, this is what loads one.
                function = _checked(driver.cuModuleGetFunction(self._module, kernel.encode()), kernel)
            # Without being asked the driver grants 48 KiB, less what the kernel declares itself.
            if shared_bytes > granted:
                attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                _checked(
                    driver.cuFuncSetAttribute(function, attribute, shared_bytes),
                    f"{kernel} with {shared_bytes} bytes of shared memory",
                )
                granted = shared_bytes
            self._functions[kernel] = function, granted
        return function

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """Make this GPU the current one and allow loading, even while the thread captures a CUDA graph, of which it is no part."""
        driver = self._driver
        relaxed = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        _checked(driver.cuCtxPushCurrent(self._context))
        try:
            before = _checked(driver.cuThreadExchangeStreamCaptureMode(relaxed))
            try:
                yield
            finally:
                driver.cuThreadExchangeStreamCaptureMode(before)
        finally:
            driver.cuCtxPopCurrent()


@dataclass(frozen=True)
class Loaded:
    """Kernels that can be launched."""

    module: CudaModule
    built: Built


def load_cuda(name: str, dtype: torch.dtype, device: torch.device) -> CudaModule:
    """Return the kernels of a source for tensors of one dtype on one GPU, compiled if they have to be.

    What was loaded is remembered, and so is a failure to (KernelUnavailable): there is no second try in a process.
    """
    index = device.index
    return load(name, dtype, torch.cuda.current_device() if index is None else index).module


@memoize
def load(name: str, dtype: torch.dtype, index: int) -> Loaded:
    """`load_cuda`, with how the file came about."""
    if index not in gpus():
        raise KernelUnavailable(f"there is no GPU {index} that PyTorch can use", "`dcnrun doctor` shows the GPUs")
    with work_folder() as work:
        built = _build(name, dtype, architecture_of(index), work)
        try:
            return Loaded(CudaModule(built.content, index), built)
        except RuntimeError as error:
            raise KernelUnavailable(
                f"a compiled kernel can't be loaded: {error}",
                f"update the NVIDIA driver to one for CUDA {torch.version.cuda}, or install a torch for the driver",
            ) from error


def gpus() -> range:
    """The indices of the NVIDIA GPUs that PyTorch can use."""
    return range(torch.cuda.device_count() if torch.version.cuda and torch.cuda.is_available() else 0)


def architecture_of(index: int) -> str:
    """What kernels are compiled for on this GPU."""
    return best_architecture(find_nvrtc(), torch.cuda.get_device_capability(index))


def build_cuda(name: str, dtype: torch.dtype, architecture: str) -> Built:
    """Build or find a kernel's file for an architecture such as "sm_90a"; KernelUnavailable if it can't be kept. Needs no GPU."""
    with work_folder() as work:
        return _build(name, dtype, architecture, work).kept()


def compile_cuda(name: str, dtype: torch.dtype, architecture: str) -> bytes:
    """Return the code of a kernel, past the cache: a cubin for "sm_90a" and the like, PTX for "compute_90"; needs no GPU."""
    spec = cuda_build_spec(name, dtype, architecture)
    return compile_image(find_nvrtc(), spec.source, architecture, spec.options)


def _build(name: str, dtype: torch.dtype, architecture: str, work: Path) -> Built:
    def compile(file: Path) -> list[str]:
        file.write_bytes(compile_cuda(name, dtype, architecture))
        return list(spec.options)

    spec = cuda_build_spec(name, dtype, architecture)
    return find_or_build(spec.file_name(find_nvrtc()), compile, work, SECONDS_TO_COMPILE)


def _stream(index: int) -> int:
    """torch's current stream of a GPU."""
    try:
        # As below, without the object that it makes; PyTorch does not promise it.
        stream: int = torch._C._cuda_getCurrentRawStream(index)
    except AttributeError:
        stream = torch.cuda.current_stream(index).cuda_stream
    return stream


def _checked(answer: tuple[Any, ...], what: str = "the NVIDIA driver") -> Any:
    """What a function of the driver returned beside its status; RuntimeError if that is a failure."""
    status, *rest = answer
    if status:
        raise RuntimeError(f"{what}: {_describe(status)}")
    return rest[0] if rest else None


def _describe(status: Any) -> str:
    from cuda.bindings import driver

    name, words = driver.cuGetErrorName(status), driver.cuGetErrorString(status)
    return ": ".join(text.decode() for failure, text in (name, words) if not failure and text) or str(status)
