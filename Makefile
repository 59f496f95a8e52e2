# Everything a person or CI types. The two that matter: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Containers tell Python to write no bytecode: then each of the many processes of a demo or a test would compile the package again.
COMPILE := $(BIN)/python -m compileall -q

.PHONY: demo test torture coverage dev lint format bench bench-check reference docs lock wheel clean browser
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
	@$(COMPILE) timestore_assets
	@$(BIN)/timestore demo

dev: $(STAMP)
	@$(BIN)/timestore dev

# Tests wait for clocks, brokers and processes. The slow ones, which come first, do so most: of two cores four workers left a
# quarter idle while they ran.
WORKERS ?= 5
test: $(STAMP)
	@$(COMPILE) timestore_assets timestore_assets_tests
	@$(BIN)/python -m pytest --quiet -n $(WORKERS) --dist loadgroup

# The tests that kill processes or make up input, for an hour or more: each run dies elsewhere. How much each does:
#   TIMESTORE_EXAMPLES_TIMES       times as many examples for every property without a number of its own (1 in `make test`)
#   TIMESTORE_…_EXAMPLES           examples: JSON 8, LANDING 5, LATE 3, LIFE 8, QUESTION 60, SCHEMATHESIS 8
#   TIMESTORE_CRASH_RUNS, …_KILLS  landings, replays and builds that are killed (3); service 3, sessions 6, tailing 4
#   TIMESTORE_RETRACT_STEP         every so many statements a retraction is killed at (5)
#   TIMESTORE_LATE_DAYS            days on each of which something comes late (10)
#   TIMESTORE_ROLLING_MINUTES      how long processes with the old file and with the new one work side by side (0: a round each)
torture: $(STAMP)
	@TIMESTORE_CRASH_RUNS=100 TIMESTORE_SERVICE_KILLS=60 TIMESTORE_STREAM_KILLS=120 TIMESTORE_TAILING_KILLS=60 \
	 TIMESTORE_RETRACT_STEP=1 TIMESTORE_EXAMPLES_TIMES=20 TIMESTORE_JSON_EXAMPLES=2000 TIMESTORE_LANDING_EXAMPLES=200 \
	 TIMESTORE_LATE_EXAMPLES=100 TIMESTORE_LIFE_EXAMPLES=300 TIMESTORE_QUESTION_EXAMPLES=5000 TIMESTORE_ROLLING_MINUTES=60 \
	 TIMESTORE_SCHEMATHESIS_EXAMPLES=15 TIMESTORE_LATE_DAYS=365 \
	 $(BIN)/python -m pytest --quiet -n 2 --dist loadgroup --override-ini timeout=7200 \
	 timestore_assets_tests/crash timestore_assets_tests/property \
	 timestore_assets_tests/integration/test_orchestration_downstream.py timestore_assets_tests/integration/test_service_openapi.py

# Which lines the quick tests run; `make coverage TESTS=timestore_assets_tests` asks all of them. Nothing fails by it.
TESTS ?= timestore_assets_tests/unit timestore_assets_tests/property
coverage: $(STAMP)
	@$(BIN)/python -m pytest --quiet -n 2 --dist loadgroup --cov --cov-report=term --cov-report=html:.coverage-report $(TESTS)

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP)
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

# Beside peers, which it installs below .bench: SCALE in millions of rows (`SCALE="1 10"` tells how times grow), PARTS some of
# queries, loading, windows, stream, ingest and planning. `PAGE=docs/benchmarks.md` writes the tables and pictures of that page.
SCALE   ?= 1
ROUNDS  ?= 5
MINUTES ?= 20
bench: $(STAMP)
	@$(BIN)/python -m benchmarks.suite --scale $(SCALE) --rounds $(ROUNDS) --minutes $(MINUTES) \
	 $(if $(PARTS),--parts $(PARTS)) $(if $(PAGE),--page $(PAGE))

# What fell by more than a quarter since the figures that are committed, by ratios to peers of the last run of `make bench`.
bench-check: $(STAMP)
	@$(BIN)/python -m benchmarks.suite.check docs/benchmarks/figures.json .bench/figures.json

# The pages that are made from the code; a test compares.
reference: $(STAMP)
	@$(BIN)/python scripts/reference.py docs

# The documentation as a site, on http://127.0.0.1:8000.
docs: $(STAMP)
	@$(BIN)/zensical serve --dev-addr 127.0.0.1:8000

# Pins everything that pyproject.toml asks for; no index address gets into the file.
lock:
	@$(PYTHON) scripts/lock.py

# Wheel and sdist, and the wheel tried in an empty environment with the packages of the index that pip is configured for.
wheel: $(STAMP)
	@$(BIN)/python scripts/try_wheel.py

clean:
	@rm -rf .timestore .mypy_cache .ruff_cache .pytest_cache .coverage .coverage-report
