"""Whether Weights & Biases can be asked at all, found out before anything is sent."""

import wandb
from wandb.sdk import wandb_setup

from dcnrun.errors import UsageError

_LOCAL = "or leave out --engine wandb: the local engine needs no account and no network."


def require_login() -> None:
    """Raise UsageError at once where W&B is switched off or there is no login, or when its server refuses the login.

    Without a login no network is tried; with one, the server is asked whose it is.
    """
    mode = wandb_setup.singleton().settings.mode
    if mode not in ("online", "run", "shared"):
        raise UsageError(
            f"A sweep on Weights & Biases needs its server, but W&B is {mode} here (WANDB_MODE, or a settings file of W&B). "
            f"Set WANDB_MODE=online or run `wandb online`, {_LOCAL}"
        )
    try:
        logged_in = wandb.login(prompt=False)
    except Exception as error:  # a key that is malformed or refused, no network: the client raises many kinds
        raise UsageError(
            f"Weights & Biases refuses the login, or can't be reached ({error}). Run `wandb login --relogin`, {_LOCAL}"
        ) from error
    if not logged_in:
        raise UsageError(
            "A sweep on Weights & Biases needs a login, and there is none: run `wandb login`, or set WANDB_API_KEY, "
            f"{_LOCAL}"
        )
