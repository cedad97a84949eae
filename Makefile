# `make help` lists the targets and explains the variables; .ci/make.py says what runs for those that use the program.
#
# `make train PATH=rc` replaces the PATH that recipes search for programs: GNU make exports what stands on its command
# line. So the value is taken aside, and the search path that make itself was started with is put back.
ifeq ($(origin PATH),command line)
  TRAIN_PATH := $(PATH)
  STARTED_WITH := $(shell PATH=/usr/bin:/bin; tr '\0' '\n' < /proc/$$PPID/environ 2>/dev/null | sed -n 's/^PATH=//p')
  override PATH := $(or $(STARTED_WITH),/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin)
endif
export PATH

SHELL := /bin/sh
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
READY := .venv/ready
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadgroup

VARIABLES := DATA SPARSITY SELECTOR WEIGHTS VIEW MODEL INIT RECIPE LABELS EPOCHS GPUS SEED MODELS KEEP_RATE SEEDS METHODS JOBS ENGINE ROUNDS REPORT_AT REWIND LR ROWS WEIGHT_SPARSITY HEAD_SPARSITY NEURON_SPARSITY DEPTH
IS_GIVEN = $(filter command environment,$(firstword $(origin $(1))))
GIVEN = $(foreach name,$(VARIABLES),$(if $(call IS_GIVEN,$(name)),$(name)='$($(name))')) PATH='$(TRAIN_PATH)' \
  $(if $(filter command,$(firstword $(origin DATASET))),DATASET='$(DATASET)')
# The commands are listed first, so that what is mistyped is told before anything is made.
RUN = @commands=$$($(BIN)/python .ci/make.py $@ $(GIVEN)) && PATH="$(BIN):$$PATH" \
  $(SHELL) -e$(if $(findstring s,$(firstword -$(MAKEFLAGS))),,x) -c "$$commands"

.PHONY: help setup quick test test-all lint types docs tickets train evaluate report table sweep lth svite lotus figure3 demo bench soak clean
.DEFAULT_GOAL := help

help:  ## this list
	@echo "make TARGET [VARIABLE=VALUE ...]"
	@sed -n 's/^\([a-z0-9-]*\):.*##  *\(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14
	@echo
	@sed -n 's/^#: //p' $(firstword $(MAKEFILE_LIST))

#: DATA       a dataset, a source to be packed first, or digits (built-in; the default)
#: SPARSITY   share of patches to drop (default: 0.27; make demo: 0.75; a list for table, sweep and figure3)
#: SELECTOR   timm ViT or a run (default: on digits a run that is trained first, on other data deit_small)
#: WEIGHTS    file with the selector's weights (default: the hub's)
#: VIEW       what the selector sees: auto (the default), center, full, full@2, crops:V, crops-mean:V
#: MODEL      deit_t/s/m/b, deit_micro, lvvit_s, lvvit_micro, swin_t, resnet50, resnet20 (32 px), any of timm's
#: PATH       lt (the default), rc, dense, small or short
#: INIT       the weights that runs start from: pretrained, a file, or a run (default: random ones)
#: RECIPE     hyperparameters of the run: a name that train --help lists (default: by dataset and model)
#: LABELS     folder of label maps, with which LV-ViT trains (on digits made if missing); make table also takes
#:            the name of an annotator that makes them
#: EPOCHS     how many epochs the run trains (default: the recipe's)
#: SEED       seed of the run (default: 0)
#: GPUS       number of GPUs that train a run, one torchrun process each (default: 1); in make sweep and figure3,
#:            number of GPUs that runs are spread over (default: all)
#: MODELS     of make table (default: the paper's), sweep and figure3
#: KEEP_RATE  of make table, sweep and figure3, a list (default: the paper's; or give SPARSITY, a list)
#: SEEDS, METHODS, JOBS, ENGINE  of make sweep and figure3, as vit-tickets sweep --help has them
#: ROUNDS, REPORT_AT, REWIND, LR  of make lth, as vit-tickets lth --help has them, and SEEDS, JOBS, ENGINE, GPUS
#: ROWS, WEIGHT_SPARSITY, HEAD_SPARSITY, NEURON_SPARSITY, DEPTH  of make svite, as vit-tickets svite --help has them, and
#:            MODELS (default: those of the paper; deit_micro on digits), KEEP_RATE, SEEDS, JOBS, ENGINE, GPUS
#: TUNE_EPOCHS, TOP_UP, LEVELS  of make lotus, as vit-tickets lotus --help has them, and EPOCHS, INIT, SELECTOR, SEEDS,
#:            JOBS, ENGINE, GPUS, SPARSITY (of patches)

setup: $(READY)  ## .venv with everything, at the versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[all]"
	touch $@

quick: $(READY)  ## tests without processes and training, under a minute
	$(PYTEST) -m "not slow and not process"

test: $(READY)  ## all but the slow tests, under 5 minutes
	$(PYTEST) -m "not slow"

test-all: $(READY)  ## every test, under 30 minutes
	$(PYTEST)

lint: $(READY)  ## style, spelling, and which way imports go
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	PYTHONPATH=.ide $(BIN)/lint-imports

types: $(READY)  ## type errors that are not in the baseline
	$(BIN)/basedpyright --baselinemode=discard

docs: $(READY)  ## the manual as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

tickets: $(READY)  ## stage 1: select every image's ticket (resumes)
	$(RUN)

train: $(READY)  ## stage 2: train MODEL on PATH (resumes; also packs, trains the selector and selects if needed)
	$(RUN)

evaluate: $(READY)  ## score the finished runs on DATA at SPARSITY (and dense ones) on dense, lt and rc
	$(RUN)

report: $(READY)  ## table and verdict over those runs
	$(RUN)

table: $(READY)  ## the paper's table on DATA: MODELS on tickets and random subsets (resumes)
	$(RUN)

sweep: $(READY)  ## MODELS x sparsities x SEEDS, tickets and all that is simpler, to one report (resumes)
	$(RUN)

lth: $(READY)  ## lottery tickets of MODEL's weights, pruned in rounds, beside their controls, to one report (resumes)
	$(RUN)

svite: $(READY)  ## MODELS by SViTE beside random masks, pruning and fewer blocks, to one report (resumes)
	$(RUN)

lotus: $(READY)  ## MODEL's weights dropped at once and by soups of masks, with tickets of patches, to a table (resumes)
	$(RUN)

figure3: $(READY)  ## the paper's figure 3 on DATA: accuracy against sparsity for dense, lt and rc (resumes)
	$(RUN)

demo: $(READY)  ## the whole path on digits, to the report: about 8 minutes on 2 idle cores
	$(RUN)

bench: $(READY)  ## paired benchmarks: ratios of two things measured in one run
	$(BIN)/python -m tests.bench

soak: $(READY)  ## exact epochs, 106 SIGKILLs, memory over 50,000 samples, fuzzing: 45 minutes on 2 cores
	$(BIN)/python -m tests.soak
	FUZZ=3000 $(BIN)/python -m pytest -q -m slow tests/hostile/test_fuzz.py

clean:  ## remove the environment and caches; data, manifests and runs stay
	rm -rf .venv build vit_tickets.egg-info site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
