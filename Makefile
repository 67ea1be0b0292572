# make run | test | check | bench | venv; everything lives in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check bench venv clean

venv: $(VENV)/.installed

$(VENV)/pyvenv.cfg:
	@echo "making $(VENV)"
	@$(PYTHON) tools/venv.py $(VENV)

# The stamps are newer than pyproject.toml when what it asks for is installed.
$(VENV)/.installed: pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "installing auberge into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test-extras: pyproject.toml | $(VENV)/.installed
	@echo "installing what the tests need into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $(VENV)/.installed $@
