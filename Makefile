.PHONY: install test test-fast sanitize lint format wheel

install:  ## the package and everything to work on it, in .venv
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --editable '.[dev]'

test:  ## the whole suite
	.venv/bin/python -m pytest

test-fast:  ## without the tests that take more than some ten seconds
	.venv/bin/python -m pytest -m 'not slow'

sanitize:  ## our kernels, stopped at the first access out of bounds or undefined behaviour; skipped without such a compiler
	.ci/sanitized .venv/bin/python -m pytest tests/ops/test_deform_conv2d.py -k kernel --hypothesis-profile=few \
		--capture=sys -p no:faulthandler || [ $$? -eq 77 ]

lint:  ## what CI checks beside the tests
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format:
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

wheel:  ## dist/*.whl
	.venv/bin/python -m build --wheel
