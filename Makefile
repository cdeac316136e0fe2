# Run `make help` for the list. uv is used from the PATH, or installed into .tools if it is missing.

PYTHON ?= python3
PORT ?= 8000
TO ?= ..
BUILD ?= .build
SECONDS ?= 60

# A path is what was typed: a $ in it is no variable of make.
override INTO := $(value INTO)
override TO := $(value TO)
export INTO TO

UV_VERSION := 0.13.9
UV := $(if $(shell command -v uv 2>/dev/null),uv,.tools/bin/uv)

# Each file in one process; tests/conftest.py says which begin.
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo new adopt test test-all lint format docs bench soak size clean tidy uv

help: ## Show this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

demo: uv tidy ## Render the template, start the service on loopback, try its cache (PORT=8000)
	@$(UV) run --quiet --only-group render scripts/demo.py --port $(PORT) --build $(BUILD)

new: uv tidy ## Ask the template's questions and write your service next to this folder (TO=..)
	@case "$$TO" in \
		"~" | "~/"*) TO="$$HOME$${TO#"~"}";; \
		"~"*) echo "TO=$$TO names the home of somebody else; give its path." >&2; exit 1;; \
	esac; \
	mkdir -p "$${TO:-..}" 2>/dev/null || \
		{ echo "TO=$$TO is no folder, and none can be made there; give a folder." >&2; exit 1; }; \
	$(UV) run --quiet --only-group render cookiecutter . --output-dir "$${TO:-..}"

adopt: ## Copy the cache module into your application (INTO=../shop/src/shop/cache)
	@: "$${INTO:?is missing: say where the new folder is to be, as in make adopt INTO=../shop/src/shop/cache}"; \
		case "$$INTO" in "~" | "~/"*) INTO="$$HOME$${INTO#"~"}";; esac; \
		$(PYTHON) scripts/adopt.py copy "$$INTO" || test $$? = 1 # copied, and there is something to look at

test: lint ## Check the most of it in three minutes, a rendered service on a real Redis included
	$(UV) run --quiet pytest $(PARALLEL) -m 'not slow and not alone'
	@echo "make test-all runs the rest, too: every test of the cache module, failovers, Sentinel, Cluster,"
	@echo "browsers, proxies, oldest and newest versions of libraries, figures, and a soak."

test-all: lint ## Check everything, as CI does (PART=most or PART=alone: one half of it)
	$(if $(filter alone,$(PART)),,$(UV) run --quiet pytest $(PARALLEL) -m 'not alone')
	$(if $(filter most,$(PART)),,$(UV) run --quiet pytest -m alone)

lint: uv ## Check format, lint and types of the template's own code
	$(UV) run --quiet ruff format --check
	$(UV) run --quiet ruff check
	$(UV) run --quiet mypy

format: uv ## Format the template's own code and mend what the linter can mend
	$(UV) run --quiet ruff format
	$(UV) run --quiet ruff check --fix

docs: uv ## Build the site of the documents into .build/site; SERVE=1 shows it on loopback (PORT=8000)
	@$(UV) run --quiet --only-group docs scripts/build_docs.py --build $(BUILD)
	$(if $(SERVE),@$(PYTHON) -m http.server --bind 127.0.0.1 --directory $(BUILD)/site $(PORT),\
		@echo "The site is $(BUILD)/site/index.html; make docs SERVE=1 shows it.")

bench: uv ## Measure the cache beside other libraries, in ten minutes (QUICK=1: in one or two)
	@$(UV) run --quiet --only-group peers python -m benchmarks \
		$(if $(QUICK),--quick --output $(BUILD)/benchmarks)

soak: uv ## Harm Redis in every way while processes use it, and count what goes wrong (SECONDS=60)
	@SOAK_SECONDS=$(SECONDS) $(UV) run --quiet pytest -s tests/test_soak.py -k nothing_goes_wrong

size: ## Count the lines of code of the cache, room by room
	@$(PYTHON) scripts/size.py

clean: ## Remove what the other targets made
	rm -rf .tools .venv .build .mypy_cache .pytest_cache .ruff_cache uv.lock

# What linters and interpreters leave in the template's folder would be rendered with it.
tidy:
	@find '{{cookiecutter.project_slug}}' \( -name __pycache__ -o -name '.*_cache' -o -name .hypothesis \) -prune -exec rm -rf {} +

uv: $(filter .tools/bin/uv,$(UV))

.tools/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .tools || \
		{ echo "'$(PYTHON) -m venv' fails: on Debian and Ubuntu, install python3-venv." >&2; rm -rf .tools; exit 1; }
	@echo "Installing uv $(UV_VERSION) into .tools"
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) || \
		{ rm -rf .tools; exit 1; }
