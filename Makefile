# Needs Python 3.11 or newer and make; everything else is installed into .venv.
# Another interpreter: make PYTHON=python3.12 test

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
QUESTION := Which note is higher, the first or the second?

.DEFAULT_GOAL := help
.PHONY: help demo test bench evidence clean

help:
	@echo "make demo                  install, then ask the small model about examples/two_notes.wav"
	@echo "make test                  lint, types, tests"
	@echo "make bench                 the speed comparisons in bench/"
	@echo "make evidence [ROW=name]   the measurements behind the claims, into docs/evidence/"
	@echo "make clean                 remove .venv and caches"

demo: $(VENV)/.installed
	$(BIN)/earwitness ask examples/two_notes.wav "$(QUESTION)"

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow and not gpu"

bench: $(VENV)/.installed-dev
	@for script in bench/*.py; do echo "== $$script" && $(BIN)/python "$$script" || exit 1; done

evidence: $(VENV)/.installed-dev
	$(BIN)/python evidence/run.py $(ROW)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info

# The stamps are newer than what they were made from, so an installation runs again only after a change.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; name one with make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt torch==2.13.0
	$(PIP) install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.installed
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	@touch $@
