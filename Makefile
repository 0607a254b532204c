# What a contributor and CI type.  `make` alone lists the targets.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --progress-bar off --require-hashes --requirement
# Building the package needs nothing that is not locked.
INSTALL_PACKAGE := $(PIP) install --quiet --no-deps --no-build-isolation --editable .

# Most of a test's time is waiting for others: one more than there are cores keeps those busy, and
# four at most, as each starts peers of its own (Triton takes a gigabyte).  Tests of a file stay
# together and share them.
CORES := $(shell nproc 2>/dev/null || echo 1)
PROCESSES := $(shell echo $$(($(CORES) < 3 ? $(CORES) + 1 : 4)))
AT_ONCE := --numprocesses $(PROCESSES) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test test-failed test-slow test-chaos test-lowest test-image image chart lint format docs lock audit dist clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  PYTHON=/path/to/python3.11 chooses another Python than the first fitting one"

demo: $(VENV)/.demo ## a synthetic CT through a whole node; results in demo-out
	$(BIN)/dicomnode demo --out demo-out

test: $(VENV)/.dev ## all tests but the long campaigns
	tools/test-peers
	$(BIN)/pytest -m "not slow" -p no:randomly $(AT_ONCE) --durations 15

test-failed: $(VENV)/.dev ## once more what failed last time
	$(BIN)/pytest -m "not slow" -p no:randomly --last-failed --last-failed-no-failures none

test-slow: $(VENV)/.dev ## the long campaigns
	tools/test-peers
	$(BIN)/pytest -m slow -p no:randomly

# At once on both databases: most of it is waiting.  Each tells of itself when it has ended.
# What pynetdicom leaves to the garbage collector is told after the last test, too.
test-chaos: $(VENV)/.dev ## a minute of random kills on each database
	tools/test-peers
	$(MAKE) --no-print-directory --keep-going --jobs 2 --output-sync=target \
		test-chaos-sqlite test-chaos-postgresql

test-chaos-%: $(VENV)/.dev
	$(BIN)/pytest -p no:randomly -p no:cacheprovider \
		-W ignore::pytest.PytestUnraisableExceptionWarning \
		'tests/integration/test_chaos.py::test_nothing_is_lost_in_a_minute_of_chaos[$*]'

test-lowest: $(VENV)/.dev ## the tests with the oldest dependencies that pyproject.toml admits
	tools/test-peers
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/lowest
	$(BIN)/uv pip install --quiet --python build/lowest --resolution lowest-direct \
		--group dev --editable '.[embedded]'
	build/lowest/bin/pytest -m "not slow" -p no:randomly $(AT_ONCE)

image: ## the container image, by Docker or, without it, by buildah
	tools/image build

test-image: $(VENV)/.dev ## build the container image and run the main job in it (as root)
	$(BIN)/pytest -m slow -p no:randomly tests/acceptance/test_image.py

chart: build/chart/.installed ## judge the Helm chart with Helm 3 and 4, and the Dockerfiles
	build/chart/bin/hadolint Dockerfile deploy/triton/Dockerfile
	tools/check-chart build/chart/bin/python

lint: $(VENV)/.dev ## style, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.dev ## the references that are made from the code, in docs/
	$(BIN)/python tools/reference.py

lock: $(VENV)/.dev ## make the lock files anew (LOCK=--upgrade for newer versions)
	$(BIN)/python tools/lock.py $(LOCK)

audit: $(VENV)/.dev ## known vulnerabilities of what the lock files name
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements/dev.lock

dist: $(VENV)/.dev ## wheel and sdist in dist/
	$(BIN)/python -m hatchling build --clean

clean: ## remove what make made; a node's data stays
	rm -rf $(VENV) build dist demo-out .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find dicomnode tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp stands for an installation that is as new as its lock file.

$(VENV)/.demo: pyproject.toml requirements/demo.lock | $(BIN)/pip
	@echo "Installing what requirements/demo.lock names; the first time this takes some minutes."
	$(INSTALL) requirements/demo.lock
	$(INSTALL_PACKAGE)
	@touch $@

$(VENV)/.dev: pyproject.toml requirements/dev.lock | $(BIN)/pip
	@echo "Installing what requirements/dev.lock names; the first time this takes some minutes."
	$(INSTALL) requirements/dev.lock
	$(INSTALL_PACKAGE)
	@touch $@ $(VENV)/.demo

build/chart/.installed: requirements/chart.lock | $(BIN)/pip
	$(BIN)/python -m venv --clear build/chart
	build/chart/bin/pip install --quiet --require-hashes --requirement requirements/chart.lock
	@touch $@

$(BIN)/pip:
	python=$$(PYTHON='$(PYTHON)' tools/find-python) && "$$python" -m venv $(VENV)
