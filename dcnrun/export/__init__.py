"""Trained networks as files for other runtimes.

This import brings no torch: the command line reads `dcnrun.export.targets`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcnrun.export.onnx import export_onnx, onnx_translations

__all__ = ["export_onnx", "onnx_translations"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from dcnrun.export import onnx

        return getattr(onnx, name)
    raise AttributeError(f"module 'dcnrun.export' has no attribute {name!r}")
