# Two commands do everything, on a machine that has Python >= 3.11, pip and make:
#   make demo   see it work, over real HTTP against a local Refold
#   make test   format check, lint, types, tests
# Beside these, for all there is: make long (simulations, soaks, clusters, a browser) and make coverage.
# While typing: make quick, and make pytest ARGS="tests/unit/waiting -x"
VENV ?= .venv
ARGS ?=
BIN  := $(VENV)/bin

# Most tests wait, for sockets and for processes: more of them at a time than there are cores.
WORKERS ?= 6

# Tests start a hundred processes: without bytecode each would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

# `-X dev` brings an allocator that looks for faults in C, of which there is none here, and takes a
# seventh of the time.
export PYTHONMALLOC := pymalloc

# The first interpreter that runs and is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: demo test check side-by-side long coverage quick pytest test-all loops format captures docs build bench soak openapi crashes clean
.DEFAULT_GOAL := test

# A Debian without python3-venv has no ensurepip: pip itself fills the environment then.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "refold-async needs Python 3.11 or newer; none found on PATH"; exit 1; }
	$(PYTHON) -m venv $(VENV) 2>/dev/null || { $(PYTHON) -m venv --clear --without-pip $(VENV) \
		&& $(PYTHON) -m pip --python $(BIN)/python install -q pip; }
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e ".[cli]"
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e ".[cli]" --group dev
	@touch $@ $(VENV)/.demo

$(VENV)/.uvloop: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --group loops
	@touch $@

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e ".[cli,otel]" --group docs
	@touch $@

$(VENV)/.build: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --group build
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/python -m refold_async.cli demo $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check side-by-side

# As strict in each worker as in one process: `-X dev -W error` is not inherited. As variables
# (PYTHONDEVMODE, PYTHONWARNINGS) it would be, by the commands under test too.
STRICT   := $(BIN)/python -X dev -W error
parallel  = --dist worksteal --tx '$(1)*popen//python=$(STRICT)'

# The tests, WORKERS at a time, but for the long ones.
side-by-side: $(VENV)/.dev
	$(STRICT) -m pytest $(call parallel,$(WORKERS)) -m "not long" $(ARGS)

# The same with branch coverage of each worker and each command under test, in twice the time.
coverage: check $(VENV)/.dev
	@$(BIN)/coverage erase
	$(STRICT) -m coverage run -m pytest $(call parallel,$(WORKERS)) -m "not long" $(RERUNS) $(ARGS)
	@$(BIN)/coverage combine -q
	$(BIN)/coverage report

# Seconds of computing each.
long: $(VENV)/.dev
	$(STRICT) -m pytest $(call parallel,$(WORKERS)) -m long $(RERUNS) $(ARGS)

# Some tests go by real time, over real sockets and processes: where all of the machine is busy what
# fails is tried twice more, and named in the summary (RERUN).
RERUNS := --reruns 2 -rR

# What needs no sockets and little computing, in seconds: for use while typing.
quick: $(VENV)/.dev
	$(STRICT) -m pytest -q $(call parallel,2) -m "not long" --hypothesis-profile=quick \
		tests/unit tests/property tests/test_architecture.py $(ARGS)

# Some tests, one after the other: make pytest ARGS="tests/unit/waiting -x"
pytest: $(VENV)/.dev
	$(STRICT) -m pytest $(ARGS)

# The tests on every supported Python that runs here, each in an environment of its own; what touches
# asyncio also on uvloop, and with tasks that begin where they are made (Python 3.12 and later).
ASYNC := tests/unit tests/http/transport tests/http/starting tests/http/waiting tests/http/batch

test-all:
	@for p in python3.11 python3.12 python3.13; do \
		if $$p -c '' 2>/dev/null; then \
			echo "== $$p" && $(MAKE) --no-print-directory side-by-side long PYTHON=$$p VENV=.venv-$$p || exit 1; \
			$(MAKE) --no-print-directory loops PYTHON=$$p VENV=.venv-$$p || exit 1; \
		else echo "== $$p is not installed: skipped"; fi; done

loops: $(VENV)/.dev $(VENV)/.uvloop
	@for kind in uvloop eager; do \
		if [ $$kind = uvloop ] || $(BIN)/python -c 'import asyncio; asyncio.eager_task_factory' 2>/dev/null; then \
			echo "== $$($(BIN)/python -V), $$kind" && REFOLD_TEST_LOOP=$$kind $(STRICT) -m pytest -q \
				$(call parallel,$(WORKERS)) $(ASYNC) $(ARGS) || exit 1; fi; done

# Figures, not assertions: CPU, memory, import time, waiting, and goodput at a service that sheds, each
# beside an ordinary alternative. Takes half an hour, and a machine with nothing else to do.
bench: $(VENV)/.dev
	$(BIN)/python tests/bench/execute_cpu.py
	$(BIN)/python tests/bench/gather_memory.py
	$(BIN)/python tests/bench/import_time.py
	$(BIN)/python tests/bench/pending.py
	$(BIN)/python -m tests.bench.simulate_waiting --plot docs/images
	$(BIN)/python tests/bench/waiting.py
	$(BIN)/python tests/bench/map_memory.py
	$(BIN)/python tests/bench/map_memory.py --journal
	$(BIN)/python -m tests.bench.journal
	$(BIN)/python -m tests.bench.shedding --plot docs/images/goodput.svg
	$(BIN)/python -m tests.bench.chance
	$(BIN)/python -m tests.bench.mapping --account-too
	$(BIN)/python tests/bench/batch_rate.py

# Minutes of calls over real HTTP while a fifth of them go wrong; fails if a promise was broken.
soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak $(ARGS)

# 2,000 requests made from the description of the emulator's endpoints; fails at an answer that isn't in it.
openapi: $(VENV)/.dev
	REFOLD_TEST_CASES=2000 $(BIN)/python -m pytest -s -q tests/http/emulator/test_openapi.py $(ARGS)

# Batches whose process is killed 20 times at random moments, one on Dask, whose workers are too, and
# processes that share keys; fails if an item ran twice or never.
crashes: $(VENV)/.dev
	$(BIN)/python -m tests.soak.crashes $(ARGS)
	$(BIN)/python -m tests.bench.dask_soak
	$(BIN)/python -m tests.soak.keys

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The pictures of the command line and of the emulator's page in the documentation; the latter needs
# chromium.
captures: $(VENV)/.dev
	$(BIN)/python -m tests.captures
	$(BIN)/python -m tests.captures.page

# Built anew each time: Sphinx does not see that a docstring has changed.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W -q -E -b html docs docs/_build
	$(BIN)/python -m tests.packaging.reference docs/_build
	@echo "file://$(CURDIR)/docs/_build/index.html"

# What would be published: the sdist, the wheel built from it, and that wheel at work on its own.
# Twice, the second time in another place, with other rights and another clock: the same bytes.
build: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 1580601600)
build: $(VENV)/.build
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m tests.packaging.again dist/*
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m tests.packaging.wheel dist/*

clean:
	rm -rf $(VENV) .venv-* dist docs/_build .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
