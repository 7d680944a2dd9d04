"""dcnrun: compare standard, dilated and deformable convolution, honestly, in one command."""

__version__ = "0.1.0"
