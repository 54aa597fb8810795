# Two commands: `make quickstart` and `make test`. Both set up their own environment first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

# What Python compiles is kept, also where the environment forbids it, as in many containers: both start many processes.
export PYTHONDONTWRITEBYTECODE =

.PHONY: quickstart test base

quickstart: $(VENV)/ready
	$(BIN)/python -m selectmm -m experiments=quickstart/ten_minutes hydra/launcher=joblib hydra.launcher.n_jobs=2

# Two files at a time, each with one thread; a file's tests share what it sets up. tests/conftest.py names the long files
# that come first.
test: $(VENV)/ready $(VENV)/browser
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --durations=20

# Train the embedded model's alignment again (half an hour); the committed one is what results are comparable with.
base: $(VENV)/ready
	$(BIN)/python -m selectmm.quickstart.align

# A browser for the tests of the HTML pages, if there is none and it can be installed; without one they are skipped.
$(VENV)/browser: tests/install_browser.sh | $(VENV)/ready
	bash tests/install_browser.sh
	touch $@

# Installed anew whenever a lock changes. The second list must not pull in its own dependencies (see its comments).
# Nothing is compiled here: Python compiles what is imported, and most of what is installed never is.
$(VENV)/ready: requirements.lock requirements-nodeps.lock pyproject.toml
	@echo "Installing about 200 packages into $(VENV), 2.5 GB; this takes minutes, and nothing more is printed meanwhile."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --requirement requirements-nodeps.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@
