# make demo   sets up .venv and tunes a real workload on this machine's CPU
# make test   sets up .venv and runs the tests
# make check  formatting, lint and types
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.wmhub-installed

.PHONY: demo test check setup clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "== Setting up $(VENV) (a few minutes the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "wmhub needs Python 3.10 or newer; call make PYTHON=python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=24'
	@echo "== Installing wmhub and a tested set of packages (constraints.txt)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[tvm,bench,dev]'
	@touch $@

demo: $(STAMP)
	@echo "== Tuning a dense layer on this CPU with a pretrained world model"
	@$(BIN)/wmhub demo --output demo-output

test: $(STAMP)
	@echo "== Running the tests (about ten minutes on two cores)"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

check: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

clean:
	rm -rf $(VENV) demo-output build *.egg-info
