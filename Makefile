# Two commands for a bare machine (Python 3.11 or newer, make): `make quickstart` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# uv does not read pip's settings: hand it pip's local wheels.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# Every process of a run imports torch: compile it once, not each time.
unexport PYTHONDONTWRITEBYTECODE
# Without a GPU the CPU build of torch is enough, and gigabytes smaller.
BACKEND := $(shell command -v nvidia-smi >/dev/null 2>&1 || echo --torch-backend=cpu)

.PHONY: quickstart test lint types unit install install-dev clean

quickstart: $(VENV)/.installed
	$(BIN)/pricematch run examples/quickstart.yaml

test: lint types unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

unit: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/pytest

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

# uv where it can be had (seconds), plain pip where it cannot (minutes); the CPU index of torch is tried
# first and left alone where it is out of reach.
define install_extras
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || true
	if $(BIN)/python -m uv --version >/dev/null 2>&1; then \
	  $(BIN)/python -m uv pip install --quiet --python $(BIN)/python -c constraints.txt $(BACKEND) -e '.[$(1)]' 2>/dev/null \
	  || $(BIN)/python -m uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$(1)]' \
	  || $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(1)]'; \
	else \
	  $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(1)]'; \
	fi
endef

$(VENV)/.installed: pyproject.toml constraints.txt
	$(call install_extras,train,serve)
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	$(call install_extras,train,serve,dev)
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
