# One command per intent. `make demo` and `make test` do all the set-up they need: Python 3.11 or newer and a package index are enough.
#
#   make demo        the standard library as a report: durable, killable, resumable
#   make test        every test, with coverage by floor
#   make lint        ruff, its formatter, mypy
#   make test-setup  tools that some tests can use (make test does it too)
#   make bench       the benchmarks, as ratios
#   make bench-peers  flowdsl beside others, each in an environment of its own (.bench/)
#   make docs        the manual as HTML
#   make clean       forget everything that was made here
#
# PYTHON=…   the interpreter the environment is made from      VENV=…   where it lives      TESTS=…   arguments of pytest

PYTHON ?= python3
VENV ?= .venv
AWS_VENV ?= .venv-aws
WORKERS ?= 2
TESTS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# "compat" puts the folder itself on the path: type checkers look there, and cannot follow setuptools' import hook.
EDITABLE := --config-settings editable_mode=compat --editable
# The stamps are files in the environment, so a new environment has none of them.
CORE := $(VENV)/.flowdsl-core
TEST := $(VENV)/.flowdsl-test
DOCS := $(VENV)/.flowdsl-docs
DESCRIPTION := pyproject.toml setup.cfg

.DEFAULT_GOAL := help
.PHONY: help demo test lint test-setup bench bench-peers docs clean

help:
	@sed -n 's/^#  \( *make .*\)/\1/p' Makefile

demo: $(CORE)
	@$(BIN)/python examples/stdlib_report.py

test: $(TEST) test-setup
	@rm -f .coverage .coverage.*
	PATH="$$PATH:$(CURDIR)/$(AWS_VENV)/bin" $(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report= $(TESTS)
	@$(BIN)/python .ci/coverage_by_floor.py

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-setup:
	@.ci/test-setup $(PYTHON) $(AWS_VENV)

bench: $(TEST)
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

PEERS := dbos prefect temporalio simpleflow
bench-peers: $(TEST)
	@for peer in $(PEERS); do [ -d .bench/$$peer ] || { $(PYTHON) -m venv .bench/$$peer && .bench/$$peer/bin/pip install -q $$peer; } || exit 1; done
	@[ -d .bench/awsdurable ] || { $(PYTHON) -m venv .bench/awsdurable && .bench/awsdurable/bin/pip install -q aws-durable-execution-sdk-python aws-durable-execution-sdk-python-testing; }
	@$(BIN)/python benchmarks/peers/run.py

docs: $(DOCS)
	$(BIN)/python -m sphinx -W -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

$(CORE): $(DESCRIPTION)
	@echo "Setting up $(VENV) with $(PYTHON) …"
	@.ci/make-venv $(PYTHON) $(VENV)
	@$(PIP) $(EDITABLE) .
	@touch $@

$(TEST): $(CORE)
	@echo "Adding what the tests need to $(VENV) …"
	@$(PIP) $(EDITABLE) '.[test]'
	@touch $@

$(DOCS): $(CORE)
	@$(PIP) $(EDITABLE) '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) $(AWS_VENV) .node-swf build dist *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis docs/_build
	rm -rf stdlib_report.html stdlib_report.db* stdlib_report.log flowdsl.db*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
