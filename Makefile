# Every target sets up .venv on its own; the only needs are Python >= 3.11, g++ and make.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
JOBS ?= 2
FOLDERS := golden hw tb sim scripts

.PHONY: help venv demo test deep lint format docs site types bench soak lock clean

help:
	@echo "make demo   run real LLM layers through generated RTL and compare with golden"
	@echo "make test   run the tests (7 minutes on 2 cores)"
	@echo "make deep   run them on further configurations (as long again)"
	@echo "make lint   check style and types"
	@echo "make docs   renew the measured blocks of README and docs"
	@echo "make site   build the documents and the API reference into build/html"
	@echo "make bench  measure the figures of docs/benchmarks.md"
	@echo "make soak   run every verification in full and write docs/verification.md (hours)"
	@echo "make venv   only set up .venv"

venv: $(VENV)/ready

# What runs needs. Bytecode comes at first use, of what is used.
$(VENV)/runtime: pyproject.toml runtime.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "nibbleforge needs Python 3.11 or newer: set PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --no-compile --requirement runtime.lock
	$(RUN)/python -m pip install --quiet --no-deps --editable .
	touch $@

# What tests, checks and measurements need besides.
$(VENV)/ready: $(VENV)/runtime requirements.lock
	$(RUN)/python -m pip install --quiet --no-compile --requirement requirements.lock
	touch $@

demo: $(VENV)/runtime
	@$(RUN)/nibbleforge demo --jobs $(JOBS)

test deep: export OPENBLAS_NUM_THREADS = 1
test: venv
	$(RUN)/python -m pytest -n $(JOBS) -m "not deep and not slow"

deep: venv
	$(RUN)/python -m pytest -n $(JOBS) -m "deep and not slow"

# A folder of links: packages where tools look for them that do not install the project.
types:
	@mkdir -p build/types/nibbleforge
	@for folder in $(FOLDERS); do ln -sfn ../../../$$folder build/types/nibbleforge/$$folder; done

lint: venv types
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	MYPYPATH=build/types $(RUN)/mypy --package nibbleforge

format: venv
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

docs: venv
	$(RUN)/python -m nibbleforge.scripts.docs README.md docs/*.md

# Links that look like the repository, without what is no page.
site: venv types
	@rm -rf build/site && mkdir -p build/site/sim/sample
	@ln -s $(foreach page,README.md CHANGELOG.md LICENSE docs,../../$(page)) build/site
	@ln -s $(foreach page,README.md PYTHON-LICENSE.txt,../../../../sim/sample/$(page)) \
	  build/site/sim/sample
	NO_MKDOCS_2_WARNING=1 $(RUN)/python -m mkdocs build --strict --quiet
	@echo "build/html/index.html"

bench: venv
	$(RUN)/python -m nibbleforge.scripts.bench --output docs/benchmarks.md

soak: venv
	$(RUN)/python -m pytest -n $(JOBS) -m slow
	$(RUN)/python -m nibbleforge.scripts.soak --output docs/verification.md

# Of both locks the second is a part of the first.
COMPILE := $(RUN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate \
  --no-emit-index-url

lock: venv
	$(RUN)/python -m pip install --quiet uv
	$(COMPILE) --extra dev --extra docs --output-file requirements.lock pyproject.toml
	$(COMPILE) --constraint requirements.lock --output-file runtime.lock pyproject.toml

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
