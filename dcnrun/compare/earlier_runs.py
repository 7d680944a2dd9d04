"""Completed runs that a comparison need not train again, found by their configs wherever they were trained."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dcnrun.compare.results import read_finished
from dcnrun.compare.variants import digest, identity
from dcnrun.config.compose import load
from dcnrun.config.inactive import settings_of
from dcnrun.config.paths import find_paths, is_path
from dcnrun.config.schema import Config
from dcnrun.errors import DcnrunError
from dcnrun.runs import RunFolder, read_bytes, write_text

_DEEPEST = 3
"""Folders below `runs_dir`: a trial is in sweeps/NAME/trial-0000."""
_COMPARISONS = "comparisons.txt"
"""In `runs_dir`: the comparisons that were written elsewhere, a folder a line."""
GRID_FILE = "grid.json"
"""In the folder of a comparison: what it is made of."""


def settings_here(config: Config) -> dict[str, Any]:
    """Return what decides the numbers of a run, its seed and data with it; paths that exist from the root on."""
    settings = settings_of(config)
    own = {"seed": settings["seed"], **identity(settings)}
    return {key: str(Path(value).absolute()) if _is_there(key, value) else value for key, value in own.items()}


def settings_of_run(path: Path) -> dict[str, Any]:
    """Return the same of a run's folder; ConfigError where its config can't be read."""
    folder = RunFolder(path)
    return settings_here(find_paths(load(folder.config_file), folder.read_paths(), path)[0])


def _is_there(key: str, value: Any) -> bool:
    return isinstance(value, str) and is_path(key) and Path(value).exists()


def find_completed(keys: Collection[str], runs_dir: Path, comparison: Path) -> dict[str, Path]:
    """Return completed runs that can be compared, by the digests of their settings.

    They are looked for in `runs_dir`, beside a comparison's folder, and in each comparison that was begun with this `runs_dir`.
    """
    found: dict[str, Path] = {}
    for path in _run_folders(runs_dir, comparison):
        if len(found) == len(set(keys)):
            break
        if RunFolder(path).is_completed():
            with suppress(DcnrunError, KeyError):  # damaged, without a score, or of another version
                key = digest(settings_of_run(path))
                if key in keys and key not in found:
                    read_finished(path)
                    found[key] = path
    return found


def remember(comparison: Path, runs_dir: Path) -> None:
    """Keep where a comparison is, if that is not in `runs_dir`, so that others find its runs."""
    listed, folder = _listed(runs_dir), comparison.resolve()
    if not folder.is_relative_to(runs_dir.resolve()) and folder not in listed:
        write_text(runs_dir / _COMPARISONS, "".join(f"{path}\n" for path in [*listed, folder]))


def _run_folders(runs_dir: Path, comparison: Path) -> Iterator[Path]:
    """Yield folders of runs, each once."""
    beside = [path.parent for path in sorted(comparison.parent.glob(f"*/{GRID_FILE}"))]
    seen: set[Path] = set()
    for path in (run for top in (comparison, *beside, *_listed(runs_dir), runs_dir) for run in _below(top, _DEEPEST)):
        if path.resolve() not in seen:
            seen.add(path.resolve())
            yield path


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the runs among a folder and those inside it."""
    if _is_file(RunFolder(folder).config_file):
        yield folder
    elif depth:
        try:
            inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
        except OSError:
            return
        for path in inner:
            yield from _below(path, depth - 1)


def _listed(runs_dir: Path) -> list[Path]:
    try:
        lines = read_bytes(runs_dir / _COMPARISONS).decode().splitlines()
    except (OSError, ValueError):
        return []
    return [Path(line) for line in lines if _is_file(Path(line, GRID_FILE))]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder of someone else's, or no path
        return False
