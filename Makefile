# Everything a user or developer does, in one place: `make help`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help run study test check bench clean
.DEFAULT_GOAL := help

help: ## show this help
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

run: $(READY) ## run the main job (config.yaml; CONFIG=FILE for another, CORES=N)
	@clusterscan run $(or $(CONFIG),config.yaml) $(if $(CORES),--cores $(CORES))

study: $(READY) ## repeat a published study: make study NAME=pruitt_perseus QUICK=1 (CORES=N)
	@clusterscan study "$(NAME)" $(if $(filter-out 0 no,$(QUICK)),--quick) $(if $(CORES),--cores $(CORES))

test: $(READY) ## run the tests
	@python -m pytest -n auto --dist worksteal

check: $(READY) ## lint, layers, types, formats, generated files
	ruff check .
	ruff format --check .
	lint-imports
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint --quiet
	python -m clusterscan.commands.generate --check

bench: $(READY) ## run the benchmarks (JSON lines on standard output)
	@for script in benchmarks/*.py; do python $$script; done

clean: ## remove results and caches (keeps the environment)
	rm -rf results runs studies .snakemake .pytest_cache .mypy_cache .ruff_cache

# Bytecode is compiled once here: importing timm without it costs seconds in every job.
$(READY): pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (once, a few minutes) ..."
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("clusterscan needs Python 3.11 or newer; name one: make run PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@$(BIN)/python -m compileall -qq $(VENV)/lib || true
	@touch $@
