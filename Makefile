# Two commands: `make demo` and `make test`. Both set up what they need in .venv first.
SHELL := /bin/bash
PYTHON ?= python3
CORES ?= $(shell nproc)
BIN := .venv/bin

.PHONY: help demo test test-slow companions reference guide docs lint format clean

help:
	@echo "make demo       set up, then run the whole workflow on a simulated cohort (minutes on two cores)"
	@echo "make test       set up, then run the tests"
	@echo "make test-slow  kills, full disks, SLURM and the measurements behind the README (half a day on two cores)"
	@echo "make companions run the real examples of four targets, and print them beside published figures"
	@echo "make reference  train the shipped network anew (a quarter of an hour)"
	@echo "make guide      draw the pictures of resources/guide anew (minutes)"
	@echo "make docs       build the documentation in site/ (a minute)"
	@echo "make lint       ruff, snakefmt, snakemake --lint"
	@echo "make clean      remove results and the environment"

.venv/.ready: envs/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("cpgtaxa needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@echo "Setting up .venv (once, a few minutes) …"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.txt
	@touch $@

demo: .venv/.ready
	@$(BIN)/snakemake --cores $(CORES) --configfile config/demo/config.yaml
	@$(BIN)/snakemake --quiet all --report results/report.zip --configfile config/demo/config.yaml
	@echo "  figures   results/report.zip: every figure with its caption, and how each file was made"

test: .venv/.ready lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) --dist loadscope --no-loadscope-reorder

test-slow: .venv/.ready
	$(BIN)/python -m pytest -m slow
	$(BIN)/python tests/benchmarks/label_quality.py
	$(BIN)/python tests/benchmarks/realism.py
	$(BIN)/python tests/benchmarks/taxonomy_quality.py --work results/quality --cores $(CORES)
	$(BIN)/python tests/benchmarks/what_adds.py
	$(BIN)/python tests/benchmarks/recipes.py
	$(BIN)/python tests/benchmarks/transfers.py
	$(BIN)/python tests/benchmarks/sizes.py
	$(BIN)/python tests/benchmarks/unlike.py
	$(BIN)/python tests/benchmarks/expression_speed.py
	$(BIN)/python tests/benchmarks/histone_scale.py
	$(BIN)/python tests/benchmarks/histone_warmup.py
	$(BIN)/python tests/benchmarks/single_cell_windows.py
	$(BIN)/python tests/benchmarks/ecg_throughput.py
	$(BIN)/python tests/benchmarks/candidate_taxa.py --samples 300 656 1500

EXAMPLES := single_cell ecg_age expression histone

companions: .venv/.ready
	@$(BIN)/snakemake $(EXAMPLES) --cores $(CORES) --configfile $(EXAMPLES:%=config/examples/%.yaml)
	@$(BIN)/python tests/benchmarks/companions.py

reference: .venv/.ready
	@mkdir -p results/reference_run
	@$(BIN)/snakemake reference --cores $(CORES) --directory results/reference_run --configfile config/reference.yaml
	@cp results/reference_run/results/reference/*.gz results/reference_run/results/reference/*.json \
		results/reference_run/results/reference/*.npy resources/reference/
	@cd resources/reference && sha256sum ResNet18_* > SHA256SUMS

guide: .venv/.ready
	$(BIN)/python resources/guide/draw.py

.venv-docs/.ready: envs/docs-requirements.txt
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r envs/docs-requirements.txt
	@touch $@

# Pages that are generated are made anew, then the site; links that lead nowhere stop it. No network is needed.
docs: .venv/.ready .venv-docs/.ready
	@for page in docs/make_*.py; do $(BIN)/python $$page || exit 1; done
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo "site/index.html opens the documentation"

lint: .venv/.ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/snakefmt --check workflow
	@$(BIN)/snakemake --lint

format: .venv/.ready
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/snakefmt workflow

clean:
	rm -rf .venv .venv-docs .snakemake site
	find results -mindepth 1 -not -name .gitkeep -delete
