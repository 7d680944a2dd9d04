"""dcnrun: compare standard, dilated and deformable convolution, honestly, in one command.

This import is light and brings no torch, which `dcnrun.convert` and `dcnrun.offset_parameter_groups` do when they are first used.
The operators are registered with PyTorch by `import dcnrun.ops`, which comes before a program that uses them is loaded, whether
torch.export, AOTInductor or a trace saved it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcnrun.models.any_network import convert, offset_parameter_groups

__all__ = ["__version__", "convert", "offset_parameter_groups"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("convert", "offset_parameter_groups"):
        from dcnrun.models import any_network

        return getattr(any_network, name)
    raise AttributeError(f"module 'dcnrun' has no attribute {name!r}")
