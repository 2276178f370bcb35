# The front door. stdout belongs to the command a target runs; make, pip and apt talk on stderr.
# ARGS is handed on: make demo ARGS="--for 90 --json"   make test ARGS="-k sync"   make bench ARGS="sync --json"
.DEFAULT_GOAL := help
.PHONY: help venv check fmt test demo bench nightly fuzz shots i18n configs wheel clean
MAKEFLAGS += --no-print-directory
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
SEEDS ?= 0:2000
FRAMES ?= 1000000
DATA ?= data

help: ## this list
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' Makefile | expand -t 10

# Two stamps: a demo on an office's machine does not wait for test tools.
$(VENV)/.installed: pyproject.toml .ci/make-venv
	@.ci/make-venv $(VENV) hub,simulate
	@touch $@

$(VENV)/.installed-dev: pyproject.toml .ci/make-venv
	@.ci/make-venv $(VENV) dev
	@touch $(VENV)/.installed $@

venv: $(VENV)/.installed-dev ## .venv with everything a developer needs
	@:

check: $(VENV)/.installed-dev ## ruff, formatting, mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy .

fmt: $(VENV)/.installed-dev ## put the code into its form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

test: $(VENV)/.installed-dev ## all tests; Chromium, PostgreSQL and libmodbus are installed where they are missing and that is allowed
	@.ci/ensure-chromium
	@.ci/ensure-postgresql
	@.ci/ensure-libmodbus
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q $(ARGS)

demo: $(VENV)/.installed ## a small country living through a link cut
	@$(BIN)/python -m simulate demo $(ARGS)

bench: $(VENV)/.installed-dev ## measurements beside their peers and limits
	@$(BIN)/python -m benchmarks $(ARGS)

nightly: $(VENV)/.installed-dev ## many seeds in virtual time (SEEDS=from:to)
	@$(BIN)/python -m simulate campaign --seeds $(SEEDS) --days 3 --json $(ARGS)

fuzz: $(VENV)/.installed-dev ## a million hostile frames against every codec, on all cores (FRAMES=n)
	@$(BIN)/python -m tests.fuzz --frames $(FRAMES) $(ARGS)

shots: $(VENV)/.installed-dev ## look at the pages: screenshots into build/pictures
	@.ci/ensure-chromium
	@TARMOQ_SHOTS=build/pictures $(BIN)/python -m pytest -q -m browser $(ARGS)

i18n: $(VENV)/.installed-dev ## merge new messages into the four catalogues
	@$(BIN)/python -m hosting.catalogues update

configs: $(VENV)/.installed-dev ## make regions, policy and glossary again from their data (DATA=folder)
	@$(BIN)/python -m configs.make_regions --data $(DATA)
	@$(BIN)/python -m configs.make_rules --data $(DATA)
	@$(BIN)/python -m configs.make_glossary --data $(DATA)

wheel: $(VENV)/.installed-dev ## dist/tarmoq-*.whl
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist . >&2

clean: ## everything that make made
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
