"""Imports point one way: cli -> sweep -> compare -> jobs, training -> tasks -> models -> ops; data and config import none of them."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dcnrun"
# What each part may import, beside itself and the modules that know of no part (COMMON).
ALLOWED = {
    "config": set(),
    "data": {"config"},
    "ops": {"config"},
    "models": {"config", "ops"},
    "tasks": {"config", "data", "ops", "models"},
    "rules": {"config", "data", "tasks", "training"},
    "training": {"config", "data", "ops", "models", "tasks", "rules"},
    "jobs": set(),
    "compare": {"config", "rules", "jobs", "tasks"},
    "sweep": {"config", "rules", "tasks", "jobs", "compare"},
    "export": {"config", "data", "models", "tasks", "training"},
    "offsets": {"ops", "models"},
    "visualize": {"config", "data", "tasks", "training", "offsets"},
    "bench": {"ops"},
    "doctor": {"ops"},
    "cli": {
        "config",
        "data",
        "tasks",
        "ops",
        "doctor",
        "training",
        "compare",
        "sweep",
        "jobs",
        "export",
        "bench",
        "visualize",
    },
}
COMMON = {"errors", "console", "runs", "scores", "statistics", "plotting", "resources"}


def imported_parts(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "dcnrun":
            names += [f"dcnrun.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("dcnrun.")}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part in COMMON:
        assert imported_parts(path) <= COMMON
    elif part not in ("__init__", "__main__"):
        assert imported_parts(path) <= ALLOWED[part] | COMMON | {part}
