# Two commands: `make demo` and `make test`. Both set up what they need in .venv first.
SHELL := /bin/bash
PYTHON ?= python3
CORES ?= $(shell nproc)
BIN := .venv/bin

.PHONY: help demo test test-slow companions single-cells reference guide generated docs lint format clean

help:
	@echo "make demo       set up, then run the whole workflow on a simulated cohort (minutes on two cores)"
	@echo "make test       set up, then run the tests"
	@echo "make test-slow  all the parts below (half a day on two cores); PART=kills one alone, PART='kills slurm' some"
	@sed -n 's/^#: /                  /p' Makefile
	@echo "make companions run the real examples of four targets, and print them beside published figures"
	@echo "make single-cells  the same for 25 real cells as a whole (half an hour on two cores)"
	@echo "make reference  train the shipped network anew (a quarter of an hour)"
	@echo "make guide      draw the pictures of resources/guide anew (minutes)"
	@echo "make generated  make environments, config.yaml and pages of docs/ anew from their sources"
	@echo "make docs       build the documentation in site/ (a minute)"
	@echo "make lint       ruff, snakefmt, snakemake --lint"
	@echo "make clean      remove results and the environment"
	@echo
	@echo "Targets: .venv/bin/snakemake TARGET --cores $(CORES) --directory my_cohort --configfile my_cohort/config.yaml"
	@$(PYTHON) docs/make_targets.py --list

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

# Parts of `make test-slow`: their names and what `make help` says of them. Each file with slow tests is in one.
#: faults         full disks, damaged, changing and hostile files, every faulty input, a soak
SLOW_faults := $(addprefix tests/faults/test_,catalogue.py full_disk.py interference.py security.py soak.py)
#: kills          runs killed at any moment go on to the same results
SLOW_kills := tests/faults/test_kills.py
#: slurm          a cluster of one machine: the profile, cancelled jobs, lost nodes
SLOW_slurm := tests/workflow/test_slurm.py
#: mutations      the library broken on purpose: each breakage makes a fast test fail
SLOW_mutations := tests/mutations
#: determinism    the same bytes with any number of cores and shards
SLOW_determinism := tests/workflow/test_determinism.py
#: lab            a day in a lab: three faulty deliveries to a report whose every number has a file
SLOW_lab := tests/workflow/test_day_in_a_lab.py
#: reruns         which edit and which setting reruns what
SLOW_reruns := tests/workflow/test_reruns.py
#: elsewhere      the whole job as a module of another workflow
SLOW_elsewhere := tests/workflow/test_elsewhere.py
#: read-aloud     each command of the documentation, as it stands there, in a fresh clone
SLOW_read-aloud := tests/workflow/test_read_aloud.py
#: environments   each rule in an environment of its own
SLOW_environments := tests/workflow/test_environments.py
#: targets        the other targets at full size
SLOW_targets := $(addprefix tests/workflow/test_,benchmark.py ecg_age.py gene_expression.py histone_target.py single_cell_target.py)
#: real-data      real cohorts (needs ../shared/data)
SLOW_real-data := tests/workflow/test_real_data.py
#: units          statistics, training and fits against long simulations
SLOW_units := tests/unit
#: benchmarks     the measurements behind the docs; they write tests/benchmarks/*.csv
PARTS := $(shell sed -n 's/^.: \([a-z-]*\) .*/\1/p' Makefile)
$(foreach part,$(PART),$(if $(filter $(part),$(PARTS)),,$(error PART=$(part) is none of: $(PARTS))))

test-slow: $(addprefix slow-,$(or $(PART),$(PARTS)))

slow-%: .venv/.ready
	$(BIN)/python -m pytest -m slow $(SLOW_$*)

slow-benchmarks: .venv/.ready
	$(BIN)/python tests/benchmarks/label_quality.py
	$(BIN)/python tests/benchmarks/realism.py
	$(BIN)/python tests/benchmarks/taxonomy_quality.py --work results/quality --cores $(CORES)
	$(BIN)/python tests/benchmarks/what_adds.py
	$(BIN)/python tests/benchmarks/recipes.py
	$(BIN)/python tests/benchmarks/transfers.py
	$(BIN)/python tests/benchmarks/sizes.py
	$(BIN)/python tests/benchmarks/unlike.py
	$(BIN)/python tests/benchmarks/cell_types.py
	$(BIN)/python tests/benchmarks/expression_speed.py
	$(BIN)/python tests/benchmarks/histone_scale.py
	$(BIN)/python tests/benchmarks/histone_warmup.py
	$(BIN)/python tests/benchmarks/single_cell_windows.py
	$(BIN)/python tests/benchmarks/taxa_from_sequence.py
	$(BIN)/python tests/benchmarks/ecg_throughput.py
	$(BIN)/python tests/benchmarks/candidate_taxa.py --samples 300 656 1500

EXAMPLES := single_cell ecg_age expression histone

companions: .venv/.ready
	@$(BIN)/snakemake $(EXAMPLES) --cores $(CORES) --configfile $(EXAMPLES:%=config/examples/%.yaml)
	@$(BIN)/python tests/benchmarks/companions.py

# What `make companions` leaves out, as it takes long.
single-cells: .venv/.ready
	@mkdir -p results/hcc
	@$(BIN)/snakemake single_cell --cores $(CORES) --directory results/hcc \
		--configfile config/examples/single_cell_hcc.yaml \
		--config 'single_cell={"profiles": "$(abspath ../shared/data/single_cell/hcc_25cells.npz)"}'

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

# Files that are made from others: environments, config.yaml, pages and tables of the documentation.
generated: .venv/.ready
	@for maker in envs/make_environments.py docs/make_*.py; do $(BIN)/python $$maker || exit 1; done

# The site; links that lead nowhere stop it. No network is needed.
docs: generated .venv-docs/.ready
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
