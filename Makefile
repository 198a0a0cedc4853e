# Everything starts here. Needs Python 3.11 or newer, make and a package registry; nothing else, no root.
# The environment lives in .venv (uv and its cache included), so nothing is written outside this folder.
#
#   make run            the demo town, ready to play with       (PORT=9000 make run: on another port)
#   make test           the whole suite                         (make test ARGS="-k consent": a part of it)
#   PYTHON=/usr/bin/python3 make run                            which Python to build the environment with

VENV  := .venv
BIN   := $(VENV)/bin
UV    := $(BIN)/uv
STAMP := $(VENV)/.synced
# The libraries that `make bench` compares with: they bound the same packages as we do, so they live apart.
PEERS := $(VENV)/peers
PEERS_LOCK := benchmarks/peers/requirements.lock
UV_VERSION := 0.13.9
# Two workers: what the smallest supported machine has; more of them only wait for each other's fsync.
WORKERS ?= 2

# The first Python that is new enough; without one the plain name stays, and the set-up says what is missing.
NEWEST := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTHON ?= $(or $(NEWEST),python3)

export UV_SYSTEM_CERTS := 1
export UV_CACHE_DIR := $(CURDIR)/$(VENV)/.cache
export UV_PYTHON := $(CURDIR)/$(BIN)/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_CACHE_DIR := 1

# uv asks the registry that pip was told to use, unless it was told another one itself.
REGISTRY = index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}}"; \
	[ -z "$$index" ] || export UV_DEFAULT_INDEX="$$index";

.DEFAULT_GOAL := help
.PHONY: help run test chaos check format bench peers docs migration dump lock image rehearsal setup clean
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(STAMP) ## start everything embedded with the demo town; Ctrl-C ends it
	@exec env $(if $(PORT),PASSAPAROLA_PORT=$(PORT)) $(BIN)/passaparola demo

test: $(STAMP) ## the whole test suite (ARGS="…" is handed to pytest)
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

chaos: $(STAMP) ## the long fault tests, on both databases     (make chaos STORE=sqlite or STORE=postgresql: on one)
	@FAULT_STORE=$(STORE) $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m chaos tests/faults $(ARGS)

check: $(STAMP) ## style, types, import contracts and the project's own checks
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m checks

format: $(STAMP) ## put the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMP) ## measure against the budgets; prints "holds" or "falls short" beside each
	@$(MAKE) --no-print-directory peers || echo "Going on without the libraries to compare with." >&2
	@$(BIN)/python -m benchmarks $(ARGS)

peers: $(PEERS)/.synced ## install the libraries that `make bench` compares with
	@:

docs: $(STAMP) ## renew the generated pages in docs/reference
	@$(BIN)/python -m checks.reference

migration: $(STAMP) ## write the next migration from the tables     (make migration NAME=what_changed)
	@$(BIN)/python -m checks.migration $(NAME)

dump: $(STAMP) ## write the filled database of the newest schema   (once for every migration)
	@$(BIN)/python -m checks.schema_dump

# Universal: one lock for all systems and Pythons; hashed; it names no host. Existing pins stay unless UPGRADE is given:
#   make lock UPGRADE="--upgrade-package aiohttp"   or   make lock UPGRADE=--upgrade
# The image needs less: what the program runs with, and what builds its wheel; at the same versions (`-c`).
COMPILE = $(UV) pip compile --universal --generate-hashes --no-header --quiet --python-version 3.11
lock: $(UV) ## renew requirements*.lock from pyproject.toml
	@$(REGISTRY) $(COMPILE) --group dev $(UPGRADE) pyproject.toml --output-file requirements.lock
	@$(REGISTRY) $(COMPILE) --constraint requirements.lock --no-annotate pyproject.toml --output-file requirements.run.lock
	@$(REGISTRY) $(COMPILE) --constraint requirements.lock --no-annotate --group build --output-file requirements.build.lock
	@$(REGISTRY) $(COMPILE) --group pyproject.toml:peers $(UPGRADE) --output-file $(PEERS_LOCK)
	@$(MAKE) --no-print-directory $(STAMP)

image: ## build the container image (needs Docker)
	docker build --tag passaparola:$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) .

rehearsal: $(STAMP) ## the image's steps and the compose file's services without Docker
	@$(BIN)/python -m checks.rehearsal $(ARGS)

setup: $(STAMP) ## only make the environment

clean: ## remove the environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# Only when the lock or the metadata changed: once the stamp stands, no target needs the network.
# The project itself is linked, not copied, and built by the locked hatchling: nothing more is fetched for it.
$(STAMP): requirements.lock pyproject.toml $(UV)
	@echo "Installing the locked packages into $(VENV) …"
	@$(REGISTRY) $(UV) pip sync --quiet --require-hashes requirements.lock
	@$(UV) pip install --quiet --offline --no-deps --no-build-isolation --editable .
	@touch $@

$(PEERS)/.synced: $(PEERS_LOCK) | $(STAMP)
	@echo "Installing what is compared with into $(PEERS) …"
	@$(UV) venv --quiet --clear --python $(BIN)/python $(PEERS)
	@$(REGISTRY) $(UV) pip sync --quiet --require-hashes --python $(PEERS)/bin/python $(PEERS_LOCK)
	@touch $@

# uv goes into the environment itself: a sync leaves pip and uv alone.
$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Passaparola needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || echo missing)." >&2; \
		echo "Name another one: PYTHON=/path/to/python3 make …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make environments: its venv or ensurepip module is missing." >&2; \
		echo "On Debian and Ubuntu: apt install python3-venv. Or name another one: PYTHON=/path/to/python3 make …" >&2; exit 1; }
	@echo "Making the environment $(VENV) with $$($(PYTHON) --version) …"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
