# One command does everything: `make demo` renders a talking portrait, `make test` runs the tests.
# Both make a .venv here first, and only when pyproject.toml has changed since. All paths are relative, so that a
# folder with spaces in its name works. PYTHON=/path/to/python3.13 chooses another Python.

BIN := .venv/bin
# one more than there are cores, since tests of pages and processes wait for others
TESTERS = $(shell $(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)')

# keep compiled bytecode: otherwise each process that a test starts compiles every module again
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick coverage check check-js wheel docs fix bench mini clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

setup: .venv/.core ## make .venv and install echomimic into it

demo: .venv/.core ## render out/demo.mp4 from the bundled portrait and voice
	@mkdir -p out
	$(BIN)/echomimic demo -o out/demo.mp4

test: .venv/.dev ## run the tests
	MPLBACKEND=Agg $(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder

quick: .venv/.dev ## run the tests that need no whole run of the program
	MPLBACKEND=Agg $(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" tests/unit

coverage: .venv/.dev ## run the unit and integration tests and print the fraction of lines that they cover
	MPLBACKEND=Agg $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -p pytest_cov --cov=echomimic --cov-report=term:skip-covered tests/unit tests/integration

check: .venv/.dev ## format, lint, types of source and tests, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_layers.py

check-js: ## format and types of the page's JavaScript, where Node.js is installed
	@if command -v npx >/dev/null; then \
		npx --yes prettier@3.10.1 --check src/echomimic/apps/server/static comfyui/web && \
		npx --yes --package typescript@7.0.2 tsc -p jsconfig.json; \
	else echo "no npx: the JavaScript is not checked"; fi

wheel: .venv/.dev ## build the wheel into dist/, and render the demo from it
	rm -rf dist build/wheel && mkdir -p build/wheel
	$(BIN)/python -m build --quiet --wheel
	$(BIN)/python -m pip install --quiet --no-deps --target build/wheel dist/*.whl
	cd build/wheel && PYTHONPATH=. ../../$(BIN)/python -m echomimic demo -o demo.mp4
	cd build/wheel && PYTHONPATH=. ../../$(BIN)/python -c "import echomimic; assert 'build/wheel' in echomimic.__file__, echomimic.__file__"

docs: .venv/.made ## build the documentation as a site in build/site
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

fix: .venv/.dev ## format, and fix what lint can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.dev ## print the figures of the mesh engine: speed, memory, rendered curves against measured ones
	MPLBACKEND=Agg $(BIN)/python benchmarks/speed.py
	MPLBACKEND=Agg $(BIN)/python benchmarks/memory.py
	MPLBACKEND=Agg $(BIN)/python benchmarks/roundtrip.py
	MPLBACKEND=Agg $(BIN)/python benchmarks/editor.py

mini: .venv/.dev ## train small networks on this CPU for 40 minutes, and measure what they learned (needs flite, espeak-ng)
	OMP_NUM_THREADS=1 $(BIN)/echomimic train mini -o out/mini

clean: ## remove .venv and everything that was built
	rm -rf .venv out dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/.made:
	@sh tools/make_venv.sh
	@touch $@

.venv/.core: pyproject.toml | .venv/.made
	@echo "installing echomimic and what it needs into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@$(BIN)/echomimic models fetch
	@touch $@

.venv/.dev: pyproject.toml | .venv/.made
	@echo "installing echomimic, the diffusion extra and the tools for tests into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,diffusion]'
	@$(BIN)/echomimic models fetch
	@touch $@ .venv/.core
