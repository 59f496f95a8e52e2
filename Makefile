# Everything a person or CI types. The two that matter: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test dev lint format bench docs lock clean browser
.DEFAULT_GOAL := demo

# One environment for running and testing, made from the lock; made again when the lock changes.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.x")'
	@echo "Installing into $(VENV) (about two minutes the first time) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP)
	@$(BIN)/timestore demo

dev: $(STAMP)
	@$(BIN)/timestore dev

test: $(STAMP)
	@$(BIN)/python -m pytest --quiet -n 2 --dist loadgroup

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP)
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

bench: $(STAMP)
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: $(STAMP)
	@$(BIN)/python scripts/reference.py docs

# Pins everything that pyproject.toml asks for; no index address gets into the file.
lock:
	@$(PYTHON) scripts/lock.py

clean:
	@rm -rf .timestore .mypy_cache .ruff_cache .pytest_cache
