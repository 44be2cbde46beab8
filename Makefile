# make demo: set up and tune the embedded model; make test: set up and test; make check: everything CI checks, and audit;
# make matrix: the oldest and newest libraries on every Python, e.g. MATRIX='--python 3.13 --versions newest'.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test check lint audit matrix bench clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/securetune demo

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist worksteal

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(VENV)/.installed
	.ci/audit $(BIN)

check: test lint audit

matrix:
	$(PYTHON) .ci/matrix.py $(MATRIX)

bench: $(VENV)/.installed
	$(BIN)/python speed/training.py
	$(BIN)/python speed/scan.py
	$(BIN)/python speed/generation.py

clean:
	rm -rf $(VENV)
