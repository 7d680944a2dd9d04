"""CUDA kernels that prove themselves on the user's GPU, when they are first used there, before they compute without being asked.

An operator's `proof.py` has the problems. `prove.py` computes them by our kernels, by torchvision's and by the definition, and times
ours against torchvision's; it needs a device and a clock, and no GPU. `first_use.py` has this done in a process of its own, once for
each kind of GPU, and `verdict.py` keeps what came out.
"""
