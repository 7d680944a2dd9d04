"""Imports point one way, directly and through others.

`cli -> visualize, sweep -> compare -> jobs` and `visualize, export -> training -> tasks -> models -> ops`; `data` and `config`
import none of them, `offsets` is a library that needs no training.
"""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dcnrun"
# Modules that know of no part.
COMMON = {"errors", "console", "runs", "scores", "statistics", "plotting", "pages", "resources", "masking"}
# What each part may import, beside itself and COMMON.
ALLOWED: dict[str, set[str]] = {
    "config": set(),
    "jobs": set(),
    "data": {"config"},
    "ops": set(),
    "bench": {"ops"},
    "doctor": {"ops"},
    "models": {"config", "ops"},
    "offsets": {"ops", "models"},
    "tasks": {"config", "data", "models"},
    "drawing": {"data", "tasks"},
    "training": {"config", "data", "ops", "models", "tasks", "drawing"},
    "export": {"config", "data", "ops", "models", "tasks", "training"},
    "visualize": {"config", "data", "tasks", "training", "offsets"},
    "predict": {"config", "data", "tasks", "drawing", "training"},
    "compare": {"config", "tasks", "jobs"},
    "sweep": {"config", "tasks", "jobs", "compare"},
    "cli": {
        *("config", "data", "tasks", "ops", "doctor", "training", "compare", "sweep", "jobs", "export", "bench"),
        *("visualize", "predict"),
    },
}
# What a part must not reach through others either.
UNREACHED = {
    "compare": {"training", "visualize", "export", "sweep"},
    "sweep": {"training", "visualize", "export"},
    "offsets": {"data", "tasks", "training", "visualize"},
    "tasks": {"training", "compare", "sweep"},
}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """The parts of dcnrun that a file imports, anywhere in it."""
    tree = ast.parse(path.read_text())
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "dcnrun":
            names += [f"dcnrun.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("dcnrun.")}


def reached(part: str, imports: dict[str, set[str]]) -> set[str]:
    """Every part that importing one part may import."""
    found, open_ends = set(), {part}
    while open_ends:
        open_ends = set().union(*(imports.get(each, set()) for each in open_ends)) - found - {part}
        found |= open_ends
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if part_of(path) not in ("__init__", "__main__"))


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What each part imports, as the files have it."""
    found: dict[str, set[str]] = {part_of(path): set() for path in FILES}
    for path in FILES:
        found[part_of(path)] |= imported_parts(path) - {part_of(path)}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_part_may(path):
    part = part_of(path)
    allowed = COMMON if part in COMMON else ALLOWED[part] | COMMON | {part}
    assert imported_parts(path) <= allowed


def test_no_import_runs_back_up(imports):
    """Neither between two parts nor around through several: there is an order of all parts."""
    order = list(TopologicalSorter(imports).static_order())
    assert set(order) == set(imports)


@pytest.mark.parametrize("part", UNREACHED)
def test_what_a_part_does_not_reach(part, imports):
    assert reached(part, imports).isdisjoint(UNREACHED[part])


def test_what_is_allowed_is_needed(imports):
    """A permission that nothing uses is an exception in waiting."""
    assert {part: ALLOWED[part] - imports[part] for part in ALLOWED if ALLOWED[part] - imports[part]} == {}
