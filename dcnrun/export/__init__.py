"""Trained networks for other runtimes: ONNX files with the standard's own DeformConv nodes."""

from dcnrun.export.onnx import export_onnx, onnx_translations

__all__ = ["export_onnx", "onnx_translations"]
