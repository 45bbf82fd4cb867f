# Everything needs only Python >= 3.11, g++, make and perl; `make setup` makes .venv and every other target depends on it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SILENT:
# Python starts many of its own children: they must not take make's job server or flags for theirs.
unexport MAKEFLAGS MFLAGS MAKELEVEL

STAMP := .venv/setup.stamp
PYTHON_BIN := .venv/bin/python
RDU := .venv/bin/rdu
PRESET ?= small
# Two workers halve the wall clock; each test process also starts compilers, which are then kept to one apiece.
WORKERS ?= $(shell nproc 2>/dev/null | awk '{ print ($$1 > 1) ? 2 : 1 }')
PYTEST := OPENRDU_JOBS=1 $(PYTHON_BIN) -m pytest -q -n $(WORKERS) --dist worksteal

.PHONY: help setup coe coe-llm test test-long verilog waves lint bench clean distclean

help:
	echo "make coe        run the Composition of Experts on the simulated small device"
	echo "make coe-llm    the language composition: prompts in, tokens out, report in build/coe_llm.html"
	echo "make test       the whole test suite (test-long: proofs and sweeps that take minutes)"
	echo "make verilog    write build/verilog/$(PRESET).v (PRESET=tiny, small, medium, ...)"
	echo "make waves      a short run with a waveform window and a picture of it, in build/waves/"
	echo "make lint       ruff, and pyright if it is installed"
	echo "make bench      all measurements, as JSON in build/bench/"
	echo "make setup      only make .venv; clean: remove build/; distclean: .venv too"

$(STAMP): pyproject.toml sim/setup.sh
	sh sim/setup.sh

setup: $(STAMP)

coe: $(STAMP)
	$(RDU) coe --preset $(PRESET) $(ARGS)

coe-llm: $(STAMP)
	mkdir -p build
	$(RDU) coe-llm --preset $(PRESET) --requests 8 --report build/coe_llm.html --json build/coe_llm.json $(ARGS)

test: $(STAMP)
	$(PYTEST) $(ARGS)

test-long: $(STAMP)
	$(PYTEST) -m long $(ARGS)

verilog: $(STAMP)
	mkdir -p build/verilog
	$(RDU) verilog --preset $(PRESET) --output build/verilog/$(PRESET).v $(ARGS)

waves: $(STAMP)
	mkdir -p build/waves
	$(RDU) coe --preset $(PRESET) --requests 2 --waves build/waves/coe.vcd:18900-20300 $(ARGS)
	$(RDU) waves build/waves/coe.vcd --picture build/waves/coe.png

lint: $(STAMP)
	$(PYTHON_BIN) -m ruff check .
	if $(PYTHON_BIN) -c 'import pyright' 2>/dev/null; then $(PYTHON_BIN) -m pyright --warnings hw/config.py sim sw_driver compiler; \
	else echo "pyright is not installed: skipped"; fi

bench: $(STAMP)
	mkdir -p build/bench
	$(RDU) bench all --json build/bench/all.json $(ARGS)

clean:
	rm -rf build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv openrdu.egg-info
