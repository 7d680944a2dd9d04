"""What the operators share: checks, registration with PyTorch, the choice of what computes, and calls of kernels."""
