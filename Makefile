# Two commands do everything on a fresh machine: `make demo` and `make test`. Both make .venv and install into it.

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-all lint docs format bench bench-peers clean

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group test --group deploy --group objects --group docs --group lint
	touch $(READY)

demo: $(READY)  ## the main job: simulate, fit on a local cluster, compare with the truth, draw the picture
	mkdir -p demo
	$(BIN)/dgmmis simulate demo/survey.zarr --preset box-with-hole --overwrite
	$(BIN)/dgmmis plan demo/survey.toml
	$(BIN)/dgmmis fit demo/survey.toml
	$(BIN)/python examples/is_the_truth_recovered.py demo/survey.zarr demo/survey.run demo/recovery.png

test: $(READY)  ## the tests, two files at a time
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

test-all: $(READY)  ## the slow ones as well, one after the other: statistics, large memory, faults, kernels of every size
	$(BIN)/python -m pytest --runslow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy dgmmis

docs: $(READY)  ## the guide as HTML, in docs/_build; a reference that leads nowhere is an error
	$(BIN)/python docs/commands_page.py
	$(BIN)/python -m sphinx -W -n --keep-going -q -b html docs docs/_build

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## every work beside every peer that is installed, in one run: table and plots in tests/benchmarks/results
	$(BIN)/python -m tests.benchmarks

bench-peers:  ## environments of the peers, each of its own; needs Python 3.11, and Java 17 for Spark
	sh tests/benchmarks/make_peers.sh

clean:
	rm -rf $(VENV) demo docs/_build .pytest_cache .mypy_cache .ruff_cache
