"""Where the files that ship beside the code are: conf, kernels, sweeps and the sample data.

In a checkout they stand at the top level; in an installed wheel, inside the package.
"""

import subprocess
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT_PLACES = {"samples": Path("tests") / "fixtures"}


def resource_dir(name: str) -> Path:
    """Folder of a shipped resource: `conf`, `kernels`, `sweeps` or `samples`."""
    installed = _PACKAGE / name
    if installed.is_dir():
        return installed
    return _PACKAGE.parent / _CHECKOUT_PLACES.get(name, Path(name))


def git_commit() -> str | None:
    """Return the commit of the code that ran, with `-dirty` where files were changed; None outside a checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=_PACKAGE,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
