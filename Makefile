# Everything sets itself up: on a fresh machine only a Python of at least 3.11 and make have to be there.
SHELL := /bin/sh
python := .venv/bin/python
# The suite is bounded test by test (pyproject.toml); this is how long `make fuzz` looks for trouble.
FUZZ_SECONDS ?= 600

.DEFAULT_GOAL := help
.PHONY: help demo test setup check bench fuzz build lock clean

help: ## print this list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 10

demo: build ## the sample function in a local Lambda, directly and through Warmwire, side by side
	@$(python) -m sample_function.demo

test: setup ## everything: real servers and clients are provisioned first, then the whole suite runs
	$(python) -m tests.servers.provision --clients
	@./setup.sh clients
	@./build.sh
	$(python) -m pytest

setup: ## make .venv from the lock file; quick when nothing changed
	@./setup.sh dev

check: setup ## what needs no server: style, types, layers of imports, unit tests
	$(python) -m ruff check
	$(python) -m mypy
	.venv/bin/lint-imports
	$(python) -m pytest tests/unit

bench: setup build ## measure latency, throughput, start and memory against the alternatives
	$(python) -m tests.servers.provision --peers
	$(python) -m benchmarks

fuzz: setup ## a longer fuzz run than the suite's own: FUZZ_SECONDS=600
	WARMWIRE_FUZZ_SECONDS=$(FUZZ_SECONDS) $(python) -m pytest --timeout=0 tests/fuzz

build: ## the layer: dist/warmwire-layer.zip
	@./build.sh

lock: ## resolve requirements.lock and requirements-clients.lock anew
	./lock.sh

clean: ## remove what was built; .venv and the provisioned servers stay
	rm -rf dist build .aws-sam .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find extension tests sample_function benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
