# Everything needed to try, test and measure the project. `make help` lists the targets.
# Needs: Python 3.11 or newer with its venv module, and make. The rest comes from PyPI, pinned and hashed in requirements.lock.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Given to the command a target runs:  make demo ARGS="--seconds 60",  make test ARGS="-k headroom"
ARGS ?=
# Test processes at the same time; 0 runs them in one process, which a debugger wants.
JOBS ?= 2
# 1 makes compiled kernels check every table index: slower, and it compiles them anew. Off unless asked for.
BOUNDSCHECK ?= 0

PACKAGES := controller twin hardware scenarios dashboards
BIN := .venv/bin
READY := .venv/.ready
UV := uv>=0.13,<1
PYTEST := NUMBA_BOUNDSCHECK=$(BOUNDSCHECK) $(BIN)/python -m pytest

.PHONY: help demo test test-web bench bench-peers soak lint format lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## watch a small busy site being balanced (ends with Ctrl-C, or ARGS="--seconds 60")
	@$(BIN)/edge-twin demo $(ARGS)

# Hypothesis draws from the constants of whatever its process has imported: by themselves the stateful tests draw
# the same cases every time. 5 is pytest's "nothing chosen", as when ARGS choose among the others.
test: lint  ## lint, types and all tests that need nothing but PyPI
	$(PYTEST) -n $(JOBS) --dist loadfile -m "not web and not soak" --ignore tests/test_stateful.py $(ARGS) || [ $$? = 5 ]
	$(PYTEST) -n $(JOBS) -m "not soak" tests/test_stateful.py $(ARGS) || [ $$? = 5 ]

test-web: $(READY)  ## the tests that drive the dashboard in Chromium
	@if ! command -v chromium chromium-browser google-chrome >/dev/null; then \
	  if ! command -v apt-get >/dev/null; then \
	    echo "make test-web needs Chromium: install it with your system's package tool, then try again." >&2; exit 1; \
	  elif [ "$$(id -u)" = 0 ]; then sudo=; \
	  elif command -v sudo >/dev/null; then sudo=sudo; \
	  else echo "make test-web needs Chromium: ask an administrator to run 'apt-get install chromium'." >&2; exit 1; fi; \
	  echo "Installing Chromium with apt-get"; \
	  $$sudo apt-get -qq update; \
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium >/dev/null; \
	fi
	$(PYTEST) -m web $(ARGS)

bench: $(READY)  ## measure, print a table and write bench.json
	$(BIN)/python -m tests.bench $(ARGS)

bench-peers: $(READY)  ## compare with acnportal, EV2Gym and ELVIS on the same sessions (about ten minutes)
	$(BIN)/python -m tests.bench.peers $(ARGS)

soak: $(READY)  ## the tests that run for a long time
	$(PYTEST) -m soak --timeout 0 $(ARGS)

lint: $(READY)  ## ruff and mypy alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(PACKAGES)

format: $(READY)  ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lock: $(READY)  ## choose versions anew, within pyproject.toml, and write requirements.lock
	$(BIN)/python -m pip install --quiet "$(UV)"
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile pyproject.toml \
	  --universal --python-version 3.11 --generate-hashes --all-extras --group dev \
	  --no-emit-index-url --no-emit-find-links --upgrade --quiet -o requirements.lock

clean:  ## remove the environment and everything generated
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist bench.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv: $(READY)

# One environment, made once; again only when the lock or the project's own description changes.
# uv installs in seconds; where it is not to be had, or cannot reach the index that pip is configured for, pip does the same.
$(READY): requirements.lock pyproject.toml
	@python=; for name in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Python 3.11 or newer is needed; this machine has $$(python3 --version 2>/dev/null || echo none)." \
	    "Install one (Debian, Ubuntu: apt install python3 python3-venv) or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$python has no venv module. Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
	fi; \
	$(BIN)/python -c '' 2>/dev/null || { echo "Making .venv with $$("$$python" --version)"; "$$python" -m venv --clear .venv; }
	@export PIP_DISABLE_PIP_VERSION_CHECK=1; \
	if $(BIN)/python -m pip install --quiet "$(UV)" \
	  && $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock; then :; \
	else \
	  echo "uv is not to be had here: pip installs the same versions, which takes a minute or two"; \
	  $(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock \
	    || { echo "The packages could not be installed: is PyPI, or the mirror pip is configured for, in reach?" >&2; exit 1; }; \
	fi; \
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
