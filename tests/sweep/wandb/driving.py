"""The W&B engine in a process of its own, with the real client and its settings apart from this machine's."""

import json
import os
import subprocess
import sys
from pathlib import Path

from dcnrun.errors import DcnrunError
from dcnrun.sweep.spec.reading import read_sweep
from dcnrun.sweep.wandb_engine.engine import run_wandb_sweep

# The client's agents ask the server every 5 s, which nothing of theirs changes; here they would spend most of a test so.
ASKS_OFTEN = """
import sys
if "agent" in sys.orig_argv:
    from wandb.wandb_agent import Agent
    Agent.POLL_INTERVAL = 0.5
"""
KEY = "feedface0123456789c0ffee0123456789decade"


def client_environment(folder: Path, url: str, **more: str) -> dict[str, str]:
    """Nothing of this machine's own W&B: no login but `more`, no server but `url`, files below `folder`.

    The client's agents ask the server for work more often than they do.
    """
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(ASKS_OFTEN)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "CUDA_VISIBLE"))}
    return own | {
        "WANDB_BASE_URL": url,
        "WANDB_CONFIG_DIR": str(folder / "client"),
        "WANDB_CACHE_DIR": str(folder / "client"),
        "WANDB_DATA_DIR": str(folder / "client"),
        "WANDB_ARTIFACT_DIR": str(folder / "client"),
        "NETRC": str(folder / "netrc"),
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "0.3",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]),
        **more,
    }


def start_engine(folder: Path, file: str, environment: dict[str, str], **options: object) -> "subprocess.Popen[str]":
    """`run_wandb_sweep` of a sweep file's text, started in `folder`."""
    (folder / "sweep.yaml").write_text(file)
    return subprocess.Popen(
        [sys.executable, __file__, json.dumps(options)],
        cwd=folder,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


if __name__ == "__main__":
    try:
        print(
            json.dumps(
                run_wandb_sweep(
                    read_sweep(Path("sweep.yaml")), folder=Path("runs/sweeps/it"), **json.loads(sys.argv[1])
                )
            )
        )
    except DcnrunError as error:
        sys.exit(f"{type(error).__name__}: {error}")
