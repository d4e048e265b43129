# Two commands: `make run` and `make test`. Both set up .venv first, once.

PYTHON ?= python3
RECIPE ?= resnet18
WORKERS ?= 2

BIN := .venv/bin
SETUP := .venv/.setup
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml) model_zoo/pyproject.toml
CODE := src $(wildcard plugins/*/src) model_zoo/src

.PHONY: run test setup lint types unit clean

run: $(SETUP)  ## compile, verify and benchmark RECIPE for the best target here
	$(BIN)/fx2ait run $(RECIPE)

test: lint types unit  ## all that this machine can check

setup: $(SETUP)  ## the virtual environment with everything in it

lint: $(SETUP)
	$(BIN)/ruff check .

types: $(SETUP)
	$(BIN)/mypy $(CODE)

# The last line that this prints is pytest's summary.
unit: $(SETUP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup tests plugins model_zoo examples

# A GPU without nvcc gets the compiler from PyPI, by the `cuda` extra.
$(SETUP): requirements.txt $(PROJECTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@command -v $${CXX:-g++} > /dev/null \
	  || { echo "A C++ compiler is needed: apt-get install g++ (or set CXX)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@if $(BIN)/python -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2> /dev/null \
	    && ! command -v nvcc > /dev/null && ! test -x "$${CUDA_HOME:-/usr/local/cuda}/bin/nvcc"; \
	  then echo "a GPU, but no nvcc: installing the cuda extra"; \
	  $(BIN)/pip install --quiet --disable-pip-version-check -e '.[cuda]'; fi
	@touch $(SETUP)

clean:
	rm -rf .venv
