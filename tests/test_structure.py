"""The house keeps its shape: a test file for each module, no crumbs of modules, and two names for what helps tests."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE, TESTS = ROOT / "dcnrun", ROOT / "tests"
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

WITHOUT_TESTS = {
    "tasks/task.py": "an interface; tests/tasks/test_architectures.py is the suite of all that have it",
}
"""Modules that need no test file of their own, and why."""

HELPERS = {"fakes.py", "factories.py", "conformance.py", "conftest.py"}
OTHER_FILES = {
    "postgres.py": "a PostgreSQL server of the tests' own",
    "ray_cluster.py": "a Ray cluster of the tests' own",
    "ops/deform_conv2d/parity.py": "tolerances and cases of the tests on a GPU, which benchmarks/cuda_parity.py shares",
    "ops/deform_roi_pool/parity.py": "tolerances and cases of the tests on a GPU, which benchmarks/cuda_parity.py shares",
    "ops/deform_sample2d/parity.py": "tolerances and cases of the tests on a GPU, which benchmarks/cuda_parity.py shares",
    "ops/jit/cubin.py": "a reader of compiled GPU code",
    "browser.py": "a browser without a window, as readers of a page use it",
}
"""Files below tests/ that are neither tests nor helpers of those names, and what they are."""

SHORT = 50
FEWER_SHORT_MODULES_THAN = 20


@pytest.mark.parametrize("module", [path for path in MODULES if not path.stem.startswith("__")], ids=str)
def test_a_module_has_a_test_file_of_its_name(module):
    test = TESTS / module.with_name(f"test_{module.name}")
    assert test.is_file() != (str(module) in WITHOUT_TESTS)


def test_few_modules_are_short():
    lines = {str(path): len((PACKAGE / path).read_text().splitlines()) for path in MODULES if path.stem != "__init__"}
    short = {path: count for path, count in lines.items() if count < SHORT}
    assert len(short) < FEWER_SHORT_MODULES_THAN, short


def test_files_that_help_tests_have_agreed_names():
    others = {
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*.py")
        if not path.name.startswith("test_") and path.name not in HELPERS and "fixtures" not in path.parts
    }
    assert others == set(OTHER_FILES)
