# Every target does its own set-up: `make study` and `make test` work from a fresh clone.

STUDY ?= ablations/lambda2
ARGS ?=
PORT ?= 5000

BIN := .venv/bin
SHORT_distribution := --rounds 1
SHORT_engine_scale := --trials 10 50
SHORT_input_pipeline := --repeats 2
SHORT_orchestration := --trials 6 --nested 1
SHORT_sharing := --cut 20
SHORT_startup := --repeats 1
SHORT_tracking := --steps 10 --epochs 5
SHORT_training_step := --settings scenes --rounds 1
# The others are shared by them, and the simulation wants stores of finished studies.
BENCHMARKS := $(filter-out %/cluster_simulation.py,$(shell grep -l __main__ benchmarks/*.py))
READY := .venv/.ready

# An interpreter that may not cache byte code starts Ray's workers three times slower.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup study test soak check format ui bench schema clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "STUDY=$(STUDY) names the study. ARGS adds words: make study ARGS=--dry-run, make test ARGS='-k eda'."

setup: $(READY) ## make .venv with everything in it, or bring it up to date

study: $(READY) ## run a study and write its report
	$(BIN)/python -m bdray.study $(STUDY) $(ARGS)

test: $(READY) ## run the tests
ifeq ($(strip $(ARGS)),)
	$(BIN)/python -m pytest -m 'not soak' --durations 15 -n 2 --dist loadfile tests/unit tests/contract
	$(BIN)/python -m pytest -m 'not soak' --durations 30 tests/integration # one by one: studies on Ray want the machine
else
	$(BIN)/python -m pytest $(ARGS)
endif

soak: $(READY) ## run the tests that take minutes each, as before a release
	$(BIN)/python -m pytest -m soak

check: $(READY) ## lint, format, types and layers, as CI does
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## fix what can be fixed by itself
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

ui: $(READY) ## look at all runs in a browser, through an MLflow that listens on this machine only
	@test -e .bdray/mlflow.db || { echo "There are no runs yet. Run a study first: make study" >&2; exit 2; }
	@echo "Open http://127.0.0.1:$(PORT) in a browser, or a study's own page; Ctrl-C ends it. PORT=... takes another port."
	@grep -so '"table": "http://127[^"]*' .bdray/studies/*/*/study.json | sed \
		's|^.bdray/studies/\(.*\)/study.json:"table": "http://127.0.0.1:[0-9]*|  \1: http://127.0.0.1:$(PORT)|'
	@MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/python -m mlflow ui \
		--backend-store-uri "sqlite:///$(CURDIR)/.bdray/mlflow.db" --host 127.0.0.1 --port $(PORT) --workers 1

bench: export BENCHMARK_RESULTS := build/benchmarks
bench: $(READY) ## run the benchmarks in their short forms; each prints a table
	@set -e; $(foreach script,$(BENCHMARKS),\
		echo "== $(script) ($$(date +%T))"; $(BIN)/python $(script) $(SHORT_$(basename $(notdir $(script))));)

schema: $(READY) ## write the JSON schemas by which editors complete study files
	$(BIN)/python scripts/export_schema.py

clean: ## remove caches and byte code; .venv and the results in .bdray stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find bdray scripts tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(READY): pyproject.toml constraints.txt
	scripts/setup.sh
	@touch $@
