# Needs: python3 >= 3.11 with venv, make. Everything else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
DEMO_EPOCHS ?= 6
# Another index for torch alone, for instance https://download.pytorch.org/whl/cpu, whose build for
# Linux comes without CUDA's libraries.
TORCH_INDEX ?=
DEMO := demo-out
PYTEST_ARGS ?=
# A worker for each core, but no more than four: each needs about 1 GB.
PYTEST_WORKERS ?= -n logical --maxprocesses 4 --dist worksteal

# Without compiled modules beside the sources, each worker of pytest would compile the tests anew, and
# each process that a test starts the program.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install install-dev demo demo-data demo-model test lint types pytest format test-versions site clean distclean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "specvae needs Python 3.11 or newer; '$(PYTHON)' is not. Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The pinned torch goes first: left to itself, pip may settle on another build before it reads the pin.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(PIP) install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install -q -c constraints.txt -e '.[dev,bench]'
	@touch $@

install: $(VENV)/.installed  ## Make .venv and install specvae into it
	@echo "Installed: $(BIN)/specvae"

install-dev: $(VENV)/.installed-dev  ## The same with the tools for tests and benchmarks
	@echo "Installed: $(BIN)/specvae and the development tools"

demo: $(VENV)/.installed  ## Train, annotate and evaluate on the simulated demo data
	$(BIN)/specvae train --spectra data/demo/library.msp --structures data/demo/candidates.csv \
	  -o $(DEMO)/model --epochs $(DEMO_EPOCHS) \
	  --set optim.batch_size=128 --set optim.learning_rate=0.003 \
	  --set model.n_latent=64 --set inputs.fine_bin_width=0 \
	  --set model.spectrum_encoder=[64] --set model.spectrum_decoder=[32] \
	  --set model.fingerprint_encoder=[64] --set model.fingerprint_decoder=[64] --seed 1 --force
	$(BIN)/specvae annotate data/demo/queries.mgf --candidates data/demo/candidates.csv \
	  --model $(DEMO)/model -o $(DEMO)/annotations.csv --report $(DEMO)/report.html
	$(BIN)/specvae evaluate data/demo/queries.mgf --candidates data/demo/candidates.csv \
	  --truth data/demo/truth.csv --model $(DEMO)/model \
	  --json $(DEMO)/evaluation.json --plot $(DEMO)/topk.png
	@echo
	@echo "The spectra are simulated (data/README.md). Ranked candidates: $(DEMO)/annotations.csv"
	@echo "Report: $(DEMO)/report.html   Figures: $(DEMO)/evaluation.json   Plot: $(DEMO)/topk.png"

demo-data: $(VENV)/.installed  ## Write data/demo again
	$(BIN)/python data/make_demo.py

demo-model: $(VENV)/.installed  ## Write specvae/demo again, what 'specvae demo' shows
	$(BIN)/python data/make_demo_model.py

# The tests start beside mypy; what they say waits in the pipe until mypy is done, so that the output
# ends with pytest's summary. Either one's failure is the goal's.
test: lint  ## Lint, types and all tests
	@code=$$(mktemp); \
	{ $(BIN)/python -m pytest $(PYTEST_WORKERS) $(PYTEST_ARGS); echo $$? >"$$code"; } 2>&1 | \
	{ $(BIN)/mypy </dev/null; types=$$?; cat; tests=$$(cat "$$code"); rm -f "$$code"; \
	  [ "$$types" = 0 ] && [ "$$tests" = 0 ]; }

lint: $(VENV)/.installed-dev  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev  ## mypy --strict
	$(BIN)/mypy

pytest: $(VENV)/.installed-dev  ## Tests only; PYTEST_ARGS='-k msp' picks some
	$(BIN)/python -m pytest $(PYTEST_WORKERS) $(PYTEST_ARGS)

format: $(VENV)/.installed-dev  ## Apply ruff's fixes and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

site: install-dev  ## Build the documentation as a site, in build/site
	$(PIP) install -q -c constraints.txt -e '.[dev,bench,docs]'
	$(BIN)/mkdocs build --strict -q -d build/site

test-versions:  ## Install the wheel with the oldest, then the newest versions it admits, and use it
	$(PYTHON) tests/versions.py lowest $(VERSIONS)
	$(PYTHON) tests/versions.py newest $(VERSIONS)

clean:  ## Remove outputs and caches, keep .venv
	rm -rf $(DEMO) build dist .mypy_cache .ruff_cache .pytest_cache
	find specvae benchmarks tests data -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## Remove .venv too
	rm -rf $(VENV) specvae.egg-info
