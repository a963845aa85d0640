# Two commands do all the set-up on a fresh Linux machine with Python 3.11-3.13: `make demo` and `make test`.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(if $(shell $(name) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo yes),$(name))))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DEMO ?= demo
WORKERS ?= 2

.PHONY: install demo test test-fast check format bench clean

install: $(VENV)/.installed

# The mark is newer than what decides the installation, so that a second `make` installs nothing.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "BreastLens needs Python 3.11, 3.12 or 3.13 on the path, or PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade -c constraints.txt pip
	$(PIP) install --quiet -c constraints.txt -e '.[train]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: install
	@test ! -e '$(DEMO)' || { echo "$(DEMO) exists already: make demo DEMO=demo2 makes another, or move it away first"; exit 2; }
	$(BIN)/breastlens demo --out $(DEMO)

# Each worker's linear algebra keeps to one thread: two that wait for each other are many times slower than one. Files
# are dealt in the order of tests/conftest.py, those that take long first.
test: $(VENV)/.installed-dev
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m 'not slow and not real'

check: $(VENV)/.installed-dev
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix src tests benchmarks scripts
	$(BIN)/ruff format src tests benchmarks scripts

# What needs no data of one's own; with BUSI=FOLDER (and WEIGHTS=FOLDER) also what trains on its images.
WEIGHTS ?= imagenet
bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/augment.py --repeats 3
	$(BIN)/python benchmarks/first_answer.py
	$(BIN)/python benchmarks/roofline.py --repeats 3
	$(BIN)/python benchmarks/predict.py --repeats 1
	$(BIN)/python benchmarks/scale.py --sizes 1000 10000
ifdef BUSI
	$(BIN)/python benchmarks/train.py --data $(BUSI) --positive malignant --weights $(WEIGHTS) --repeats 1
	$(BIN)/python benchmarks/finetune.py --data $(BUSI) --positive malignant --weights $(WEIGHTS) --stages 2 --repeats 1
endif

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
