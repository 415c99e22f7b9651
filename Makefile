# make demo   set up .venv if needed, then train and predict on a synthetic town
# make test   set up .venv if needed, then run the tests
# make fuzz   read damaged files with every reader
# make lint   check style, formatting and types
# make docs   build the documentation as a site, work_dirs/site/index.html
# make qgis   pack the plug-in for QGIS into geo_mm_qgis.zip
# make clean  remove caches and results (not .venv)
#
# PYTHON=/path/to/python3.11 chooses the Python that .venv is made with.

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow fuzz lint docs format venv qgis clean FORCE

PY := .venv/bin/python
READY := .venv/.ready
INPUTS := setup.py pyproject.toml $(wildcard requirements/*.txt) $(wildcard tools/dev/setup_venv.*)

# A .venv that was moved or copied from another checkout points back there; and
# one whose Python was uninstalled does not run.
ifneq ($(shell $(PY) -c '' 2>/dev/null && cat $(READY) 2>/dev/null),$(CURDIR))
$(READY): FORCE
endif

$(READY): $(INPUTS)
	@PYTHON="$(PYTHON)" tools/dev/setup_venv.sh

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

venv: $(READY)

demo: $(READY)
	@$(PY) -m geo_mm.cli demo

# loadfile: tests of one file share their generated rasters.
test: $(READY)
	@$(PY) -m pytest -n 2 --dist loadfile -m "not slow" tests

test-slow: $(READY)
	@$(PY) -m pytest -m slow tests

fuzz: $(READY)
	@$(PY) tools/dev/fuzz.py

lint: $(READY)
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build -q

format: $(READY)
	@$(PY) -m ruff check --fix . && $(PY) -m ruff format .

qgis:
	python3 tools/qgis/pack.py

clean:
	rm -rf work_dirs build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
