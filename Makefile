.PHONY: install test test-fast sanitize parity lint format wheel

install:  ## the package and everything to work on it, in .venv
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --editable '.[dev]'

# Two processes, whose threads must not spin while they wait: that would slow the other's.
PYTEST = OMP_WAIT_POLICY=passive .venv/bin/python -m pytest -n 2 --dist loadfile

test:  ## the whole suite
	$(PYTEST)

test-fast:  ## without the tests that take more than some ten seconds
	$(PYTEST) -m 'not slow'

sanitize:  ## our kernels, stopped at the first access out of bounds or undefined behaviour; skipped without such a compiler
	.ci/sanitized .venv/bin/python -m pytest tests/ops/test_deform_conv2d.py tests/ops/roi/test_deform_roi_pool.py tests/ops/roi/test_cpu_kernel.py -k kernel --hypothesis-profile=few \
		--capture=sys -p no:faulthandler || [ $$? -eq 77 ]
	.ci/sanitized .venv/bin/python -m pytest tests/ops/cuda_emulation -k "definition or layout or parity and odd" --hypothesis-profile=few \
		--capture=sys -p no:faulthandler || [ $$? -eq 77 ]

parity:  ## whether our CUDA kernels are right on this machine's GPU: benchmarks/results/cuda_parity_*.json
	.venv/bin/python -m benchmarks.cuda_parity

lint:  ## what CI checks beside the tests
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format:
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

wheel:  ## dist/*.whl
	.venv/bin/python -m build --wheel
