# vit-tickets: `make help` lists the targets; variables are explained there.
#
# `make train PATH=rc` replaces the PATH that recipes search for programs: GNU make exports what stands on its command
# line. So the value is taken aside, and the search path that make itself was started with is put back.
ifeq ($(origin PATH),command line)
  TRAIN_PATH := $(PATH)
  STARTED_WITH := $(shell PATH=/usr/bin:/bin; tr '\0' '\n' < /proc/$$PPID/environ 2>/dev/null | sed -n 's/^PATH=//p')
  override PATH := $(or $(STARTED_WITH),/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin)
else
  TRAIN_PATH := lt
endif
export PATH

SHELL := /bin/sh
PYTHON ?= python3
ifneq ($(filter command,$(firstword $(origin DATASET))),)
  DATA := $(DATASET)
endif
DATA ?= digits
MODEL ?= $(if $(ON_DIGITS),deit_micro,deit_small)
SPARSITY ?= 0.27
SELECTOR ?=
WEIGHTS ?=
VIEW ?=
RECIPE ?=
LABELS ?=
EPOCHS ?=
GPUS ?= 1
SEED ?= 0
MODELS ?= deit_s deit_m lvvit_s swin_t resnet50
KEEP_RATE ?=
SEEDS ?= 1
METHODS ?= staged
JOBS ?=
ENGINE ?= local

HERE := $(CURDIR)
BIN := $(HERE)/.venv/bin
VT := $(BIN)/vit-tickets
READY := .venv/ready
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadgroup

# DATA is the embedded dataset, a dataset, or a source that is packed to data/<name> first.
ON_DIGITS := $(filter digits data/digits,$(DATA:/=))
NAME := $(notdir $(DATA:/=))
override DATASET := $(if $(wildcard $(DATA)/dataset.json),$(DATA:/=),data/$(NAME))
PACKED := $(DATASET)/dataset.json

DIGITS_SELECTOR := runs/digits-deit_micro-dense-seed0
SELECTOR_USED := $(or $(SELECTOR),$(if $(ON_DIGITS),$(DIGITS_SELECTOR),deit_small))
NEEDS_PRETRAINING := $(if $(ON_DIGITS),$(if $(SELECTOR),,$(DIGITS_SELECTOR)/final.safetensors))
# A run is named after its model in the manifest's folder, and a view by its name, as `vit-tickets generate` does by
# default; `train` names its runs after the view where that is not what train images have without VIEW.
VIEW_SUFFIX = $(if $(filter-out $(1),$(VIEW)),-$(subst :,,$(VIEW)))
SHORT_SELECTOR = $(if $(NEEDS_PRETRAINING),deit_micro,$(shell $(BIN)/python -c "from vit_tickets.pipeline.runs.names import selector_name; print(selector_name('$(SELECTOR_USED)'))"))
MANIFEST = manifests/$(NAME)-$(SHORT_SELECTOR)-s$(SPARSITY)$(call VIEW_SUFFIX,auto)

# What is mistyped is told before anything is made.
ifeq ($(filter $(TRAIN_PATH),lt rc dense small),)
  $(error PATH: expected lt, rc, dense or small, found $(TRAIN_PATH))
endif
ifeq ($(filter auto center full full@2 crops:% crops-mean:%,$(or $(VIEW),auto)),)
  $(error VIEW: expected auto, center, full, full@2, crops:V or crops-mean:V, found $(VIEW))
endif

# Models with logits for every token learn from label maps; on digits those of its own dense run are made first.
OWN_LABELS := $(if $(filter lvvit%,$(MODEL)),$(if $(LABELS),,$(if $(ON_DIGITS),manifests/labels/digits-deit_micro)))
LABELS_OPTION := $(if $(LABELS)$(OWN_LABELS),--labels $(or $(LABELS),$(OWN_LABELS)))

TRAIN = $(if $(filter-out 1,$(GPUS)),$(BIN)/torchrun --standalone --nproc-per-node $(GPUS) -m vit_tickets.train,$(VT) train)
EPOCHS_OPTION := $(if $(EPOCHS),--epochs $(EPOCHS))
RECIPE_OPTION := $(if $(RECIPE),--recipe $(RECIPE))
WEIGHTS_OPTION := $(if $(WEIGHTS),--weights $(WEIGHTS))
VIEW_OPTION := $(if $(VIEW),--view $(VIEW))
GENERATE = $(VT) generate $(DATASET) --sparsity $(SPARSITY) --selector $(SELECTOR_USED) $(WEIGHTS_OPTION) $(VIEW_OPTION) \
  --out $(MANIFEST)
# The paper's table has keep rates of its own, and takes SPARSITY only where it is asked for.
comma := ,
TABLE_MODELS = $(subst $() ,$(comma),$(strip $(subst $(comma), ,$(MODELS))))
TABLE_BUDGET := $(if $(KEEP_RATE),--keep-rate $(KEEP_RATE)) \
  $(if $(filter command,$(firstword $(origin SPARSITY))),--sparsity $(SPARSITY))
TABLE_LABELS := $(if $(findstring lvvit,$(MODELS)),$(or $(LABELS),$(if $(ON_DIGITS),$(DIGITS_SELECTOR))))
GPUS_OPTION := $(if $(filter-out 1,$(GPUS)),--gpus $(GPUS))
# The paper's figure 3 has four sparsities, of keep rates 0.9, 0.85, 0.8 and 0.75 in three stages.
FIGURE3_SPARSITY := 0.271,0.386,0.488,0.578
IS_GIVEN = $(filter command,$(firstword $(origin $(1))))
SWEEP = $(VT) sweep $(DATASET) --models $(if $(call IS_GIVEN,MODELS),$(TABLE_MODELS),$(1)) --seeds $(SEEDS) \
  --methods $(METHODS) $(if $(KEEP_RATE),--keep-rate $(KEEP_RATE),--sparsity $(if $(call IS_GIVEN,SPARSITY),$(SPARSITY),$(2))) \
  $(if $(SELECTOR),--selector $(SELECTOR)) $(WEIGHTS_OPTION) $(RECIPE_OPTION) $(EPOCHS_OPTION) \
  --engine $(ENGINE) $(if $(JOBS),--jobs $(JOBS)) $(if $(call IS_GIVEN,GPUS),--gpus $(GPUS))
RUNS = $(wildcard runs/$(NAME)-*-dense-seed* runs/$(NAME)-*-s$(SPARSITY)$(call VIEW_SUFFIX,auto full)-seed*)

DEMO_SPARSITY := $(if $(filter file,$(origin SPARSITY)),0.75,$(SPARSITY))
DEMO_MANIFEST := manifests/digits-deit_micro-s$(DEMO_SPARSITY)

.PHONY: help setup demo quick test test-all lint types docs tickets train evaluate report table sweep figure3 bench soak clean
.DEFAULT_GOAL := help

help:  ## this list
	@echo "make TARGET [DATA=digits] [SPARSITY=0.27] [SELECTOR=...] [WEIGHTS=...] [VIEW=...]"
	@echo "            [MODEL=...] [PATH=lt] [RECIPE=...] [LABELS=...] [EPOCHS=...] [GPUS=1] [MODELS=...] [KEEP_RATE=...]"
	@echo "            [SEEDS=1] [METHODS=staged] [JOBS=...] [ENGINE=local]"
	@sed -n 's/^\([a-z0-9-]*\):.*##  *\(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14
	@echo
	@echo "DATA       a dataset, a source to be packed first, or digits (embedded; the default)"
	@echo "SPARSITY   share of patches to drop ($(SPARSITY); make demo uses 0.75)"
	@echo "SELECTOR   timm ViT or a run; digits pretrains its own, other data use deit_small"
	@echo "WEIGHTS    file with the selector's weights (default: the hub's)"
	@echo "VIEW       what the selector sees: auto (the default), center, full, full@2, crops:V, crops-mean:V"
	@echo "MODEL      deit_t/s/m/b, deit_micro, lvvit_s, lvvit_micro, swin_t, resnet50, resnet20 (32 px), any of timm's"
	@echo "PATH       lt, rc, dense or small"
	@echo "RECIPE     of the run, as train --help lists them (default: by dataset and model)"
	@echo "LABELS     folder of label maps for lvvit_s (on digits those of its own model are made);"
	@echo "           of make table also an annotator"
	@echo "EPOCHS     of the run (default: the recipe's)            GPUS   processes of torchrun;"
	@echo "           of make sweep and figure3 GPUs to share out (default: all)"
	@echo "MODELS     of make table ($(MODELS)), sweep and figure3"
	@echo "KEEP_RATE  of make table, sweep and figure3, a list (default: the paper's; or give SPARSITY, a list)"
	@echo "SEEDS, METHODS, JOBS, ENGINE  of make sweep and figure3, as vit-tickets sweep --help has them"

setup: $(READY)  ## .venv with everything, at the versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[all]"
	touch $@

data/digits/dataset.json: | $(READY)
	$(VT) pack digits data/digits

ifneq ($(DATASET),data/digits)
$(PACKED): | $(READY)
	$(VT) pack $(DATA) $(DATASET)
endif

$(DIGITS_SELECTOR)/final.safetensors: | $(READY) data/digits/dataset.json
	$(VT) train data/digits --model deit_micro --path dense --resume

tickets: $(READY) $(PACKED) $(NEEDS_PRETRAINING)  ## stage 1: select every image's ticket (resumes)
	$(GENERATE)

# A finished manifest is left as it is, so training can depend on it without asking the selector again.
tickets-once: $(READY) $(PACKED) $(NEEDS_PRETRAINING)
	@test -e $(MANIFEST)/ticket.json || $(GENERATE)
.PHONY: tickets-once

labels-once: $(READY) $(PACKED) $(DIGITS_SELECTOR)/final.safetensors
	@test -e $(OWN_LABELS)/labels.json || $(VT) labels $(DATASET) --out $(OWN_LABELS)
.PHONY: labels-once

model-exists: $(READY)
	@$(BIN)/python -c "import sys; from vit_tickets.pipeline.runs.families import ABBREVIATIONS, KNOWN; \
	  '$(MODEL)' in {*ABBREVIATIONS, *KNOWN} and sys.exit(); \
	  from vit_tickets.pipeline.networks.registry import model_fault; \
	  fault = model_fault('$(MODEL)'); sys.exit(fault and 'MODEL: ' + fault)"
.PHONY: model-exists

recipe-exists: $(READY)
	@test -z "$(RECIPE)" || $(BIN)/python -c "import sys; from vit_tickets.train.recipes.presets import RECIPES; \
	  sys.exit('$(RECIPE)' not in RECIPES and 'RECIPE: expected ' + ', '.join(RECIPES) + '; found $(RECIPE)')"
.PHONY: recipe-exists

train: $(READY) model-exists recipe-exists $(PACKED) $(if $(filter dense,$(TRAIN_PATH)),,tickets-once) $(if $(OWN_LABELS),labels-once)  ## stage 2: train MODEL on PATH (resumes; makes what is missing)
	$(TRAIN) $(DATASET) --model $(MODEL) --path $(TRAIN_PATH) --seed $(SEED) $(RECIPE_OPTION) $(EPOCHS_OPTION) --resume \
	  $(LABELS_OPTION) $(if $(filter dense,$(TRAIN_PATH)),,--tickets $(MANIFEST))

evaluate: $(READY)  ## score the finished runs on DATA at SPARSITY (and dense ones) on dense, lt and rc
	@found=; for run in $(RUNS); do test -e $$run/final.safetensors || continue; found=1; \
	  case $$run in *-dense-*) test -e $(MANIFEST)/ticket.json && with="--tickets $(MANIFEST)" || with= ;; *) with= ;; esac; \
	  $(VT) evaluate $$run $$with || exit $$?; done; \
	test -n "$$found" || { echo "no finished run on $(NAME) at sparsity $(SPARSITY) in runs/; make train first" >&2; exit 2; }

report: $(READY)  ## table and verdict over those runs
	@found=; for run in $(RUNS); do test -e $$run/final.safetensors && found="$$found $$run"; done; \
	test -n "$$found" || { echo "no finished run on $(NAME) at sparsity $(SPARSITY) in runs/; make train first" >&2; exit 2; }; \
	$(VT) report $$found

table: $(READY) $(PACKED) $(NEEDS_PRETRAINING) $(if $(filter $(DIGITS_SELECTOR),$(TABLE_LABELS)),$(DIGITS_SELECTOR)/final.safetensors)  ## the paper's table on DATA: MODELS on tickets and random subsets (resumes)
	$(VT) table $(DATASET) --models $(TABLE_MODELS) --selector $(SELECTOR_USED) $(WEIGHTS_OPTION) $(TABLE_BUDGET) \
	  $(if $(TABLE_LABELS),--labels $(TABLE_LABELS)) $(RECIPE_OPTION) $(EPOCHS_OPTION) $(GPUS_OPTION)

sweep: $(READY) $(PACKED)  ## MODELS x sparsities x SEEDS on all paths, with tickets of METHODS, to one report (resumes)
	$(call SWEEP,$(MODEL),0.27$(comma)0.5$(comma)0.75) --paths dense,lt,rc,small

figure3: $(READY) $(PACKED)  ## the paper's figure 3 on DATA: accuracy against sparsity for dense, lt and rc (resumes)
	$(call SWEEP,$(if $(ON_DIGITS),deit_micro,deit_t$(comma)deit_s),$(FIGURE3_SPARSITY)) --paths dense,lt,rc \
	  --out runs/figure3-$(NAME)

demo: $(READY) data/digits/dataset.json $(DIGITS_SELECTOR)/final.safetensors  ## the whole path on digits, to the verdict: 8 minutes on 2 cores
	$(VT) generate data/digits --sparsity $(DEMO_SPARSITY)
	$(VT) train data/digits --model deit_micro --path lt --tickets $(DEMO_MANIFEST) --resume
	$(VT) train data/digits --model deit_micro --path rc --tickets $(DEMO_MANIFEST) --resume
	$(VT) train data/digits --model deit_micro --path small --tickets $(DEMO_MANIFEST) --resume
	$(VT) evaluate $(DIGITS_SELECTOR) --tickets $(DEMO_MANIFEST)
	for path in lt rc small; do $(VT) evaluate runs/digits-deit_micro-$$path-s$(DEMO_SPARSITY)-seed0 || exit $$?; done
	$(VT) report $(DIGITS_SELECTOR) runs/digits-deit_micro-*-s$(DEMO_SPARSITY)-seed0

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
	$(BIN)/basedpyright

docs: $(READY)  ## the manual as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

bench: $(READY)  ## paired benchmarks: ratios of two things measured in one run
	$(BIN)/python -m tests.bench

soak: $(READY)  ## exact epochs, 106 SIGKILLs, memory over 50,000 samples, fuzzing: 45 minutes on 2 cores
	$(BIN)/python -m tests.soak
	FUZZ=3000 $(BIN)/python -m pytest -q -m slow tests/hostile/test_fuzz.py

clean:  ## remove the environment and caches; data, manifests and runs stay
	rm -rf .venv build vit_tickets.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
