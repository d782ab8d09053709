# Grace. `make run` and `make test` need Python 3.11, pip and make, and nothing else.

PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3),python)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
WORKERS ?= 2
TESTS ?= tests

.DEFAULT_GOAL := help
.PHONY: help run test test-sqlite test-postgres test-all lint format types layers migrations deploy faults faults-few machine browser foreign screenshots bench schema lock clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# One file for each set of pins: installing again happens only when they change. They are complete, so pip need not look
# for what they depend on: asked for `x[extra]` it would take a newer x than the pinned one, and refuse it without a hash.
$(VENV)/run.installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Grace needs Python 3.11; set PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps --require-hashes -r requirements.txt
	touch $@

$(VENV)/test.installed: requirements-dev.txt $(VENV)/run.installed
	$(PIP) --no-deps --require-hashes -r requirements-dev.txt
	touch $@

run: $(VENV)/run.installed ## Start Grace; Ctrl-C ends it
	@exec $(BIN)/python manage.py up

test: test-sqlite test-postgres ## Run all tests, on SQLite and on PostgreSQL

test-sqlite: $(VENV)/test.installed ## Run the tests on SQLite
	$(BIN)/python -m pytest $(TESTS) -n $(WORKERS) --dist loadgroup

test-postgres: $(VENV)/test.installed ## Run the tests on a PostgreSQL started for them
	GRACE_TEST_DATABASE=postgres $(BIN)/python -m pytest $(TESTS) -n $(WORKERS) --dist loadgroup

test-all: lint types layers migrations deploy test browser foreign faults-few ## Everything CI runs

lint: $(VENV)/test.installed ## Style and known weaknesses
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --recursive --severity-level medium --configfile pyproject.toml auditlog verification governance missions grace_site

format: $(VENV)/test.installed ## Put the source in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/test.installed ## Types
	$(BIN)/mypy

layers: $(VENV)/test.installed ## A package imports only what stands to its right
	$(BIN)/lint-imports --no-logo

migrations: $(VENV)/test.installed ## No model without its migration
	GRACE_ENV_FILE= $(BIN)/python manage.py makemigrations --check --dry-run

# An environment such as a deployment has; the key is made up for this one command.
deploy: $(VENV)/test.installed ## Django's and Grace's own checks of a deployment
	GRACE_ENV_FILE= GRACE_ENV=production PUBLIC_URL=https://grace.example.org \
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))') \
	DATABASE_URL=postgres://grace@localhost/grace REDIS_URL=redis://localhost:6379/0 \
	$(BIN)/python manage.py check --deploy --fail-level WARNING

# CI shakes the house a little; FAULTS says how often something is killed.
FAULTS ?= 200
faults: $(VENV)/test.installed ## Kill processes of a whole installation, again and again, and count the effects
	FAULTS=$(FAULTS) $(BIN)/python -m pytest tests/faults -m faults -s

faults-few: $(VENV)/test.installed
	FAULTS=15 $(BIN)/python -m pytest tests/faults -m faults -s

machine: $(VENV)/test.installed ## Thousands of random stories against the model of approvals, on both databases
	MACHINE_RUNS=2000 $(BIN)/python -m pytest tests/test_approvals_machine.py
	MACHINE_RUNS=2000 GRACE_TEST_DATABASE=postgres $(BIN)/python -m pytest tests/test_approvals_machine.py

# Debian's Chromium, and axe from npm; neither is needed for anything else.
CHROMIUM ?= /usr/bin/chromium
export CHROMIUM

$(CHROMIUM):
	@echo "The browser tests need Chromium; trying to install Debian's (or set CHROMIUM=/path/to/it)."
	apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium

.ci/npm/node_modules: .ci/npm/package-lock.json
	@command -v npm >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends npm; }
	npm ci --prefix .ci/npm --silent --no-audit --no-fund
	touch $@

browser: $(VENV)/test.installed .ci/npm/node_modules $(CHROMIUM) ## Tests in a real browser (Chromium)
	$(BIN)/python -m pytest tests/browser -m "browser and not screenshots"

# Verifiers nobody here wrote: Debian's Go and its x/mod, and sigstore where it cannot get in the way.
GO ?= /usr/bin/go
GOCODE ?= /usr/share/gocode
SIGSTORE ?= .ci/sigstore/.venv
export GO GOCODE SIGSTORE

$(GO) $(GOCODE)/src/golang.org/x/mod:
	@echo "Checking the log with Go needs Go and x/mod; trying to install Debian's (or set GO= and GOCODE=)."
	apt-get update -qq && apt-get install -y -qq --no-install-recommends golang-go golang-golang-x-mod-dev

$(SIGSTORE)/installed: .ci/sigstore/requirements.txt $(VENV)/run.installed
	$(BIN)/python -m venv --clear $(SIGSTORE)
	$(SIGSTORE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	touch $@

foreign: $(VENV)/test.installed $(GO) $(GOCODE)/src/golang.org/x/mod $(SIGSTORE)/installed ## Have others check a log the tests made
	$(BIN)/python -m pytest tests/foreign -m foreign
	GRACE_TEST_DATABASE=postgres $(BIN)/python -m pytest tests/foreign -m foreign

screenshots: $(VENV)/test.installed $(CHROMIUM) ## Make the pictures in docs/images anew
	$(BIN)/python -m pytest tests/browser -m screenshots

# The packages the log's cost is compared with, where they cannot get in the way.
var/bench/audit/installed: benchmarks/requirements.txt $(VENV)/test.installed
	$(BIN)/python -m uv pip install --quiet --no-deps --require-hashes --target var/bench/audit -r benchmarks/requirements.txt
	touch $@

# With BENCH=--json both print JSON.
BENCH ?=

bench: $(VENV)/test.installed var/bench/audit/installed ## Measure what the log and a lifecycle cost, beside others; takes a while
	$(BIN)/python -m benchmarks.audit $(BENCH)
	$(BIN)/python -m benchmarks.lifecycle $(BENCH)

schema: $(VENV)/test.installed ## Write docs/openapi.yaml anew
	GRACE_ENV_FILE= $(BIN)/python manage.py spectacular --file docs/openapi.yaml

lock: $(VENV)/test.installed ## Pin the newest versions that fit
	$(BIN)/python -m uv pip compile --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade -o requirements.txt requirements.in
	$(BIN)/python -m uv pip compile --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade -o requirements-dev.txt requirements-dev.in
	$(BIN)/python -m uv pip compile --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade -o .ci/sigstore/requirements.txt .ci/sigstore/requirements.in
	$(BIN)/python -m uv pip compile --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-deps --upgrade -o benchmarks/requirements.txt benchmarks/requirements.in

clean: ## Remove what was made here, except VAR_DIR
	rm -rf $(VENV) .ci/sigstore/.venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
