"""What every operator must do, and how results are compared."""

import torch


def assert_close(got, wanted, relative, names=None):
    """Each result within `relative` of the largest value of the one that is wanted."""
    for name in names or wanted:
        largest = wanted[name].nan_to_num(0, 0, 0).abs().max().item() if wanted[name].numel() else 0
        torch.testing.assert_close(
            got[name].to(wanted[name].dtype),
            wanted[name],
            rtol=relative,
            atol=relative * largest,
            equal_nan=True,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def assert_same_bits(got, wanted, names=None):
    for name in names or wanted:
        assert torch.equal(got[name], wanted[name]), name
