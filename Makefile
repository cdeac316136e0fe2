# Run `make help` for the list. uv is used from the PATH, or installed into .tools if it is missing.

PYTHON ?= python3
PORT ?= 8000
TO ?= ..
BUILD ?= .build
SECONDS ?= 60

UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)

.DEFAULT_GOAL := help
.PHONY: help demo new test lint format bench soak size clean tidy

help: ## Show this list
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

demo: $(UV) tidy ## Render the template, start the service on loopback, try its cache (PORT=8000)
	@$(UV) run --quiet --only-group render scripts/demo.py --port $(PORT) --build $(BUILD)

new: $(UV) tidy ## Ask the template's questions and write your service next to this folder (TO=..)
	@$(UV) run --quiet --only-group render cookiecutter . --output-dir '$(TO)'

test: lint ## Check everything, the rendered service included, against a real Redis
	$(UV) run --quiet pytest

lint: $(UV) ## Check format, lint and types of the template's own code
	$(UV) run --quiet ruff format --check
	$(UV) run --quiet ruff check
	$(UV) run --quiet mypy

format: $(UV) ## Format the template's own code and mend what the linter can mend
	$(UV) run --quiet ruff format
	$(UV) run --quiet ruff check --fix

bench: $(UV) ## Measure the cache beside other libraries, in ten minutes (QUICK=1: in one or two)
	@$(UV) run --quiet --only-group peers python -m benchmarks \
		$(if $(QUICK),--quick --output $(BUILD)/benchmarks)

soak: $(UV) ## Harm Redis in every way while processes use it, and count what goes wrong (SECONDS=60)
	@SOAK_SECONDS=$(SECONDS) $(UV) run --quiet pytest -s tests/test_soak.py -k nothing_goes_wrong

size: ## Count the lines of code of the cache, room by room
	@$(PYTHON) scripts/size.py

clean: ## Remove what the other targets made
	rm -rf .tools .venv .build .mypy_cache .pytest_cache .ruff_cache uv.lock

# What linters and interpreters leave in the template's folder would be rendered with it.
tidy:
	@find '{{cookiecutter.project_slug}}' \( -name __pycache__ -o -name '.*_cache' -o -name .hypothesis \) -prune -exec rm -rf {} +

.tools/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .tools || \
		{ echo "'$(PYTHON) -m venv' fails: on Debian and Ubuntu, install python3-venv." >&2; rm -rf .tools; exit 1; }
	@echo "Installing uv $(UV_VERSION) into .tools"
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) || \
		{ rm -rf .tools; exit 1; }
