"""What the operators' registrations with torch.library have in common, for those with one output and a backward operator.

A backward operator's last argument, `wanted`, tells which gradients to compute; the others are empty tensors.
"""

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec

import torch
from torch import Tensor
from torch.library import Library
from torch.overrides import handle_torch_function, has_torch_function

from dcnrun.ops.common.forms import Formed, SeenCalls, once_a_form
from dcnrun.ops.common.shortcuts import SHORTCUTS

Parameters = ParamSpec("Parameters")
Shape = tuple[int, ...]
Tensors = tuple[Tensor, ...]

# Whether a call has to be recorded for derivatives: by autograd, a transform of torch.func, or forward mode.
is_recorded: Callable[[Sequence[Any]], bool] = (lambda arguments: True) if SHORTCUTS is None else SHORTCUTS.is_recorded


def register(
    library: Library,
    name: str,
    forward: Callable[..., Tensor],
    backward: Callable[..., Tensors],
    empty_output: Callable[..., Tensor],
    empty_gradients: Callable[..., Tensors],
) -> None:
    """Register what an operator and its backward operator compute, for every device.

    Args:
        library: where both are defined.
        name: of the operator; that of its backward ends with `_backward`.
        forward: computes the output.
        backward: computes the gradients.
        empty_output: makes the output of fake tensors.
        empty_gradients: makes the gradients of fake tensors.
    """
    for each, compute, empty in ((name, forward, empty_output), (f"{name}_backward", backward, empty_gradients)):
        library.impl(each, compute, "CompositeExplicitAutograd")
        torch.library.register_fake(f"dcnrun::{each}", empty, lib=library)


def traceable(function: Callable[Parameters, Tensor]) -> Callable[Parameters, Tensor]:
    """Decorate an operator's public function: torch.fx, which traces networks, takes a call of it for one step."""

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Tensor:
        values = (*args, *kwargs.values())
        if has_torch_function(values):
            traced: Tensor = handle_torch_function(call, values, *args, **kwargs)
            return traced
        return function(*args, **kwargs)

    return call


def checked_output(empty_output: Callable[..., Tensor]) -> Callable[[Any], tuple[Shape, Shape]]:
    """Return a function of operands to shape and strides of their output; it checks them, once for each form."""

    @once_a_form
    def shape_and_strides(operands: Formed) -> tuple[Shape, Shape]:
        arguments: Any = operands
        output = empty_output(*arguments)
        return tuple(output.shape), output.stride()

    return shape_and_strides


def empty_like(operands: Sequence[Tensor | None], wanted: Sequence[bool], input: Tensor) -> Tensors:
    """Return memory for the gradients that are wanted, and empty tensors in place of the others."""
    return tuple(
        torch.empty_like(operand) if operand is not None and want else input.new_empty(0)
        for operand, want in zip(operands, wanted, strict=True)
    )


def wanted_gradients(grads: Tensors, operands: Sequence[Tensor | None], wanted: Sequence[bool]) -> list[Tensor | None]:
    """Return the gradients with None for those that are not wanted, or of operands that are absent."""
    return [
        grad if operand is not None and want else None
        for grad, operand, want in zip(grads, operands, wanted, strict=True)
    ]


def second_gradients(
    backward: Callable[..., Sequence[Tensor | None]],
    operands: Sequence[Tensor | None],
    wanted: Sequence[bool],
    grad_grads: Sequence[Tensor],
) -> list[Tensor | None]:
    """Return the gradients of a backward operator, through its definition in plain PyTorch.

    Args:
        backward: the definition, a function of the operands.
        operands: the output's gradient, then what `backward` computes gradients of, with None for what is absent.
        wanted: which gradients the operator computed.
        grad_grads: the gradients of these.
    """
    present = [i for i, operand in enumerate(operands) if operand is not None]
    used = [i for i, want in enumerate(wanted) if want and i + 1 in present]

    def gradients(*tensors: Tensor) -> list[Tensor | None]:
        given: list[Tensor | None] = [None] * len(operands)
        for i, tensor in zip(present, tensors, strict=True):
            given[i] = tensor
        grads = backward(*given)
        return [grads[i] for i in used]

    with without_autocast(next(operand.device.type for operand in operands if operand is not None)):
        pull_back = torch.func.vjp(gradients, *(operands[i] for i in present))[1]
        second = dict(zip(present, pull_back([grad_grads[i] for i in used]), strict=True))
    return [second.get(i) for i in range(len(operands))]


def autocast_is_on(device_type: str) -> bool:
    """Whether autocast rules the operators of this kind of device."""
    # Not torch.amp.is_autocast_available, which the compiler of PyTorch 2.11 can't look into.
    return device_type != "meta" and torch.is_autocast_enabled(device_type)


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """A region in which autocast changes nothing; free where it is off."""
    return torch.autocast(device_type, enabled=False) if autocast_is_on(device_type) else nullcontext()


def autocast(
    call: Callable[..., Tensor], operands_type: Any, features: Sequence[str], positions: Sequence[str]
) -> Callable[..., Tensor]:
    """Return an operator's form under autocast; `operands_type` is the named tuple of its arguments.

    `features` take autocast's dtype, `positions` fp32: half precision has no fractions of a pixel left past 2048.
    """

    def cast(*arguments: Any, **named: Any) -> Tensor:
        operands = operands_type(*arguments, **named)
        device_type = operands[0].device.type
        dtypes = dict.fromkeys(features, torch.get_autocast_dtype(device_type))
        dtypes |= dict.fromkeys(positions, torch.float32)
        converted = {name: _for_autocast(getattr(operands, name), dtype) for name, dtype in dtypes.items()}
        with without_autocast(device_type):
            return call(*operands._replace(**converted))

    return cast


def _for_autocast(tensor: Any, dtype: torch.dtype) -> Any:
    """Convert what autocast may change: fp64 stays as it is, as everywhere in autocast, and so does None."""
    return tensor if tensor is None or tensor.dtype == torch.float64 else tensor.to(dtype)


def as_function(
    name: str,
    compute: Callable[..., Any],
    save: Callable[..., None],
    gradients: Callable[..., tuple[Tensor | None, ...]],
    vmap: Callable[..., Any],
) -> Callable[..., Any]:
    """Make a function of torch.autograd of an operator: the form that grad, vjp, vmap and their combinations want.

    What torch.library makes of the same formulas raises an error there (up to PyTorch 2.15), drops the tangents of forward
    mode without a word, and takes several times as long for a call.

    Args:
        name: what messages call it.
        compute: what computes it, below autograd.
        save: keeps what `gradients` needs, as `setup_context` of torch.library.register_autograd.
        gradients: the backward.
        vmap: the rule of torch.library.register_vmap.
    """

    def forward(ctx: Any, *arguments: Any) -> Any:
        result = compute(*arguments)
        save(ctx, arguments, result)
        return result

    def refuse(ctx: Any, *tangents: Any) -> None:
        refuse_forward_mode(name)

    # The transforms want what is computed and what is saved apart, for which PyTorch takes twice as long as for all of a call.
    recorded = _function(name, forward=forward, backward=gradients)
    transformed = _function(name, forward=compute, setup_context=save, backward=gradients, jvp=refuse, vmap=vmap)

    def call(*arguments: Any) -> Any:
        return (transformed if transforms_are_active() else recorded)(*arguments)

    return call


def _function(name: str, **rules: Callable[..., Any]) -> Callable[..., Any]:
    members = {rule: staticmethod(compute) for rule, compute in rules.items()}
    apply: Callable[..., Any] = type(name, (torch.autograd.Function,), members).apply  # type: ignore[attr-defined]
    return apply


def below_autograd(
    operator: Callable[..., Any], compute: Callable[..., Any], tensors: Sequence[int], settings: Sequence[int]
) -> Callable[..., Any]:
    """Return a function that calls an operator past autograd, and past all of PyTorch's dispatcher where nothing there is missed.

    What torch.library does for autograd is in Python, even where there is nothing to do; and where a kernel has just gone
    through the caches, the dispatcher takes as long as a call needs for all else. Whether a call is like an earlier one is one question
    to PyTorch, and answers both what the dispatcher had to do and which form the operands have.

    Args:
        operator: the operator of torch.ops.
        compute: what is registered for it; its `made` is what was made of the form of these arguments.
        tensors: which of its arguments are tensors, or None; the first two are never None.
        settings: which are not, at least two.
    """
    if SHORTCUTS is None:
        return operator
    here, calls = SHORTCUTS, SeenCalls(SHORTCUTS.alike, tensors, settings)
    find, modes, profiler_is_on = calls.find, here.modes, here.profiler_is_on

    def call(*arguments: Any) -> Any:
        made = find(arguments)
        if made is None or modes() or profiler_is_on():
            with here.below_autograd():
                if here.is_dispatched(arguments):
                    return operator(*arguments)
            made = calls.add(arguments)
        return compute(*arguments, made=made)

    return call


def differentiable(
    operator: Callable[..., Any],
    compute: Callable[..., Any],
    recorded: Callable[..., Any],
    autocast: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Return what calls an operator in the form that is wanted where it is called.

    Args:
        operator: the operator of torch.ops, which compilers and tracers have to see.
        compute: its form of `below_autograd`, for calls that nobody records.
        recorded: its form of `as_function`.
        autocast: the operator under autocast, if that changes anything.
    """

    def call(*arguments: Any) -> Any:
        if torch.compiler.is_compiling():
            return operator(*arguments)
        if not is_recorded(arguments):
            return compute(*arguments)
        if torch.jit.is_tracing():  # type: ignore[attr-defined]
            return operator(*arguments)
        if autocast is not None and autocast_is_on(arguments[0].device.type):
            return autocast(*arguments)
        return recorded(*arguments)

    return call


def folded(tensor: Tensor | None, mapped: int | None, size: int, dim: int) -> Tensor | None:
    """Make the dimension that vmap maps the slower part of `dim`; a tensor that is not mapped is repeated."""
    if tensor is None:
        return None
    unmapped = tensor.unsqueeze(dim).expand(*tensor.shape[:dim], size, *tensor.shape[dim:])
    moved = unmapped if mapped is None else tensor.movedim(mapped, dim)
    return moved.flatten(dim, dim + 1)


def refuse_forward_mode(name: str) -> None:
    """Raise NotImplementedError for an operator that has no derivatives in forward mode."""
    raise NotImplementedError(
        f"{name} has no derivatives in forward mode (jvp, jacfwd, hessian): use reverse mode (grad, vjp, jacrev)"
    )


def transforms_are_active() -> bool:
    """Whether a transform of torch.func is at work, or forward mode; what is right there is right everywhere, if that is not known."""
    return SHORTCUTS is None or SHORTCUTS.transforms_are_active()
