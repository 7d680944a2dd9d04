"""dcnrun: compare standard, dilated and deformable convolution, honestly, in one command.

This import is light and brings no torch. The operators are registered with PyTorch by `import dcnrun.ops`, which comes before a program that
uses them is loaded, whether torch.export, AOTInductor or a trace saved it.
"""

__version__ = "0.1.0"
