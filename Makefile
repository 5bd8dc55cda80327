# Options for pip, such as an index of CPU-only builds of torch: make test PIP_OPTIONS="--extra-index-url ..."
PIP_OPTIONS ?=
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-faults test-versions lint fix docs pictures bench clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_OPTIONS) --constraint constraints.txt --editable '.[test,lint]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/cmpt726 finetune --cache --unfreeze-after 5
	$(BIN)/cmpt726 report --run latest

# One thread each: several processes whose threads wait for one another at every layer take many times as long.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# Kills, full disks, hostile files, in full numbers; docs/reliability.md lists what they hold. As root for all of them.
test-faults: $(INSTALLED)
	CMPT726_FAULTS=full $(BIN)/python -m pytest -m faults

# With the oldest and the newest dependencies, under each Python that is here. Takes some GB and an hour.
test-versions:
	.ci/versions

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# docs/commands.md and the notebook's outputs; the pictures need chromium, and fine-tune once.
docs: $(INSTALLED)
	$(BIN)/python docs/make.py commands notebook

pictures: $(INSTALLED)
	$(BIN)/python docs/make.py pictures

# Writes this machine's part of benchmarks/RESULTS.md; takes an hour, and a machine that does nothing else.
bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet $(PIP_OPTIONS) --constraint constraints.txt --editable '.[test,lint,bench]'
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .versions .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
