# Two targets do all of their own set-up on a fresh machine:
#   make demo   release the bundled UCI Adult table into synthkit-demo/
#   make test   the fast tests (make test-slow: the rest)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= synthkit-demo

.PHONY: demo test test-slow mutants alarms lint format docs clean

demo: $(VENV)/run.stamp
	$(BIN)/synthkit demo --output $(DEMO)

test: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m slow

# Which test of the bench notices which deliberately broken copy; and whether any alarms at the code as it is.
mutants: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutants.matrix

alarms: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutants.alarms

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/docs.stamp
	$(BIN)/mkdocs build --strict

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# torch first and alone: a pinned release is taken from where pip finds it, CPU builds included.
$(VENV)/torch.stamp: constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/run.stamp: pyproject.toml constraints.txt $(VENV)/torch.stamp
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt $(VENV)/torch.stamp
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/run.stamp

$(VENV)/docs.stamp: pyproject.toml constraints.txt $(VENV)/torch.stamp
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
