.PHONY: install test test-fast sanitize parity evidence evidence-list lint format wheel docs

# For an environment that was not made by `make install`: make parity PYTHON=python3
PYTHON ?= .venv/bin/python

# Tests start many processes, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

install:  ## the package and everything to work on it, in .venv
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip # Python 3.11's own takes twice the time to choose among versions
	.venv/bin/python -m pip install --quiet --no-compile --editable '.[dev]' # to bytecode: a minute for modules that nobody imports

# For two cores: a thread each, since more would only wait for each other's; three processes, since tests of commands, servers and
# time limits wait too (two took a quarter more time).
PYTEST = OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 3 --dist worksteal

test:  ## the whole suite; what measures seconds runs by itself
	$(PYTEST) -m 'not alone'
	$(PYTHON) -m pytest -m alone tests/cli tests/visualize/viewer

test-fast:  ## without the tests that take more than some ten seconds
	$(PYTEST) -m 'not slow and not alone'

SANITIZED = tests/ops/deform_conv2d/test_deform_conv2d.py tests/ops/deform_conv2d/test_units.py tests/ops/deform_roi_pool/test_deform_roi_pool.py \
	tests/ops/deform_roi_pool/test_cpu.py tests/ops/deform_sample2d/test_deform_sample2d.py tests/ops/cuda_emulation

# Of the units' repeated computations one memory format, of the emulated CUDA kernels the strides that they read: all else that
# these are tested with are other numbers in the same places. So are operands that are no numbers, and other numbers of threads.
sanitize:  ## our kernels, stopped at the first access out of bounds or undefined behaviour; skipped without such a compiler
	.ci/sanitized $(PYTHON) -m pytest -n 2 --dist worksteal $(SANITIZED) --hypothesis-profile=few \
		-k "kernel and not cuda_emulation and not gives_the_bits_of_the_unit and not (threads_and_split and contiguous) \
		and not no_numbers and not (number_of_threads and not threads_and_split) \
		or cuda_emulation and (definition or parity and odd or layout and conv2d and (offset or mask))" \
		--capture=sys -p no:faulthandler || [ $$? -eq 77 ]

parity:  ## whether our CUDA kernels are right on this machine's GPU: benchmarks/results/cuda_parity_*.json
	$(PYTHON) -m benchmarks.cuda_parity

evidence:  ## the results in benchmarks/results again, or PART="NAME NAME" of them; goes on where it was stopped
	$(PYTHON) -m benchmarks.evidence $(PART)

evidence-list:  ## what there is, how long each takes, and whether it is as new as the code
	$(PYTHON) -m benchmarks.evidence --list $(PART)

lint:  ## what CI checks beside the tests
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy --num-workers 2

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

wheel:  ## dist/*.whl
	$(PYTHON) -m build --wheel

# The pages, and what they link to outside docs/.
PAGES = README.md CHANGELOG.md CONTRIBUTING.md LICENSE docs findings sweeps kernels/README.md benchmarks/README.md benchmarks/evidence_list.py benchmarks/results \
	tests/fixtures/nuclei/README.md tests/fixtures/treecrowns/README.md

docs:  ## the documentation as a site: build/site/index.html; no network is needed, and a link that leads nowhere stops it
	rm -rf build/docs build/site && mkdir -p build/docs
	cp -r --parents $(PAGES) build/docs
	$(PYTHON) -m zensical build --clean --strict
