# radixlang: two commands. Each makes its own .venv.
#   make demo    sets everything up, fetches the default model and runs examples/quickstart.py
#   make test    sets everything up and runs the checks and the tests
#   make docs    builds the guide and the reference
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.10 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
# The native step is compiled at its first use; without a compiler of the system's, one comes from PyPI.
COMPILER := $(shell { command -v $${CXX:-g++} || command -v clang++; } >/dev/null 2>&1 || echo ziglang)

.PHONY: demo test test-all check docs clean need-python
demo: $(VENV)/.ready-demo
	$(BIN)/python examples/quickstart.py

test: $(VENV)/.ready-test check
	$(BIN)/python -m pytest -q -m "not slow and not gpu"

# Nightly: everything, soaks and simulations included.
test-all: $(VENV)/.ready-test check
	$(BIN)/python -m pytest -q

check: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p radixlang

# The guide and the reference, into build/site.
docs: $(VENV)/.ready-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

need-python:
	@test -n "$(PYTHON)" || { echo "radixlang needs Python 3.10 or newer with venv: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/bin/python: | need-python
	$(PYTHON) -m venv $(VENV)
	$(PIP) -U pip "setuptools>=77" $(COMPILER)

$(VENV)/.ready-demo: pyproject.toml setup.py $(VENV)/bin/python
	$(PIP) -e '.'
	touch $@

$(VENV)/.ready-test: pyproject.toml setup.py $(VENV)/bin/python
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/.ready-demo

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
