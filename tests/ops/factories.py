"""Inputs that the tests of all operators share."""

import torch
from hypothesis import HealthCheck, settings


def examples(count):
    """So many random problems, or fewer where the profile wants it, as for slow builds of the kernels."""
    # The fixture that chooses a backend sets an environment variable, which examples don't change.
    fixture = HealthCheck.function_scoped_fixture
    return settings(max_examples=min(count, settings().max_examples), deadline=None, suppress_health_check=[fixture])


def random_like(output, seed=1):
    """The gradient of an output, the same in each call."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)


def output_and_gradients(function, problem, operands, grad_output=None):
    """The output of a function, and the gradient of each operand that is there, by name."""
    names = [name for name in operands if problem[name] is not None]
    leaves = {name: problem[name].detach().requires_grad_() for name in names}
    output = function(**problem | leaves)
    grads = torch.autograd.grad(output, leaves.values(), random_like(output) if grad_output is None else grad_output)
    return {"output": output.detach()} | dict(zip(names, grads, strict=True))
