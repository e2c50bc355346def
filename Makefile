# Nothing but Python 3.11 or newer, make and git is needed: everything else goes into .venv.
#
#   make demo [LINK=lan|wifi|lte|poor] [ONCE=1] [PROMETHEUS=1] [SCENARIO=photos IMAGES=dir [LABELS=csv]]
#   make test         lint, types, and every test that this machine has the services for
#   make bench        what the node costs, measured here
#   make bench-cloud  the cloud server beside MLServer, KServe and Triton, which `make peers` installs
#   make format       let ruff lay the code out
#   make generated    regenerate what is made of code: gRPC stubs, JSON Schema, the README's tables
#   make constraints  take the newest versions that our bounds allow into constraints.txt

PYTHON ?= python3
LINK ?= lte
SCENARIO ?= wrist

BIN := .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

PEERS := $(patsubst %,.venv/peers/%/installed,kserve mlserver triton)

.PHONY: demo test lint format bench bench-cloud peers generated constraints clean

demo: .venv/demo $(if $(filter photos,$(SCENARIO)),.venv/photos)
	@$(BIN)/python -m deploy.demo --scenario $(SCENARIO) --link $(LINK) \
	  $(if $(ONCE),--once) $(if $(PROMETHEUS),--prometheus) $(if $(IMAGES),--images $(IMAGES)) $(if $(LABELS),--labels $(LABELS))

test: lint
	$(BIN)/python -m pytest

lint: .venv/test
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy --no-error-summary

format: .venv/test
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format --quiet

bench: .venv/test
	$(BIN)/python -m tests.benchmarks

bench-cloud: .venv/test peers
	$(BIN)/python -m tests.benchmarks.cloud $(CASES)

peers: $(PEERS)

generated: .venv/test
	$(BIN)/python -m protos.generate
	$(BIN)/python -m protos.result > protos/result.schema.json
	$(BIN)/python -m tests.reference

constraints:
	rm -rf .venv/fresh && $(PYTHON) -m venv .venv/fresh
	.venv/fresh/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test,qat,ray]'
	.venv/fresh/bin/python -m pip freeze --exclude-editable | grep -v '^torch==' > constraints.txt

# One stamp an extra: an install happens when its inputs changed, and never otherwise.
.venv/%: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing tidegate[$*] into .venv (once)"
	@$(INSTALL) --editable '.[$*]'
	@rm -rf .mypy_cache # what it remembers of packages that were missing would be wrong
	@touch $@

# Servers of others, each in an environment of its own: what they require clashes with ours.
# The Python inside Triton is Debian's, and finds packages beside no other.
.venv/peers/%/installed: tests/peers/%.txt
	@echo "installing $* into .venv/peers (once)"
	@$(if $(filter triton,$*),/usr/bin/python3,$(PYTHON)) -m venv .venv/peers/$*
	@.venv/peers/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@$(PYTHON) -m venv .venv

clean:
	rm -rf .venv .demo .mypy_cache .pytest_cache .ruff_cache
