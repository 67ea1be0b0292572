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

# A person gets a shell, by systemd's own means (systemd.system-credentials(7)); a pipe gets the guest's
# report of itself. `make run IMAGE=tiny` is there in seconds.
IMAGE ?= debian
LOGIN := systemd.set_credential=agetty.autologin:root systemd.set_credential=login.noauth:yes

run: venv
	@$(BIN)/auberge image build $(IMAGE)
	@if [ -t 0 ] && [ -t 1 ]; then \
	    echo "$(IMAGE) starts; \`poweroff\` or Ctrl-A X leaves it, and what was changed is forgotten"; \
	    exec $(BIN)/auberge boot $(IMAGE) --append "$(LOGIN)"; \
	else \
	    exec $(BIN)/auberge boot $(IMAGE) --append "quiet auberge.report"; \
	fi

test: $(VENV)/.test-extras
	@$(BIN)/python tools/test_packages.py
	@host=$$($(BIN)/python -c 'from auberge.image.oci.names import host_architecture as host; print(host())'); \
	for image in tiny cell debian debian:$$host; do \
	    $(BIN)/auberge image build $$image || echo "no image $$image: skipping the tests that boot it"; \
	done
	$(BIN)/python -m pytest -q

check: $(VENV)/.test-extras
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -m 'not slow'
	@$(BIN)/python tools/size.py

bench: $(VENV)/.installed
	@$(BIN)/auberge image build tiny
	@for script in benchmarks/[!_]*.py; do $(BIN)/python $$script || exit; done

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
