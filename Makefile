# `make help` lists what there is.  ARGS= is handed on: make demo ARGS='--listen 127.0.0.1:2200', make test ARGS='-k scp'.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

ARGS ?=
WORKERS ?= $(shell nproc)
V := .venv
BIN := $(V)/bin
LOCK := flock Makefile
PIP := $(LOCK) $(BIN)/python -m pip --disable-pip-version-check install --quiet
WITH_GO = PATH="$$(scripts/go env GOROOT)/bin:$$PATH"
GUEST := $(shell find guest -name '*.go' -o -name 'go.*' 2>/dev/null)
AGENTS := $(addprefix src/moorage/agent/bin/moorage-agent-linux-,amd64 arm64)
export MOORAGE_CACHE ?= $(HOME)/.cache/moorage-tests

.PHONY: help demo install agent dev test check format references go-test bench clients fuzz soak nightly lock clean

help:  ## This list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1  \2/p' $(MAKEFILE_LIST)

demo:  ## An SSH server with a throw-away sandbox for each login, on this machine, now
	@case " $(ARGS) " in *" --backend"*) ;; *) scripts/packages demo ;; esac
	@$(MAKE) -s $(V)/.moorage
	@exec $(BIN)/moorage demo $(ARGS)

install: $(V)/.moorage  ## Moorage in .venv, with its agent built

agent: $(V)/.agent  ## The guest's agent, compiled

dev: $(V)/.dev  ## Moorage in .venv, with what development needs

test:  ## Everything: lint, types, layers, Go tests, and the suite with real engines and clients
	@scripts/packages test
	@$(MAKE) -s $(V)/.dev
	@$(MAKE) check
	@$(MAKE) go-test
	@echo '== pytest'
	@place=$$(mktemp -d /tmp/mt-XXXX) && trap 'rm -rf "$$place"' EXIT && \
	  $(WITH_GO) $(BIN)/python -u -m pytest -n $(WORKERS) --dist loadgroup --basetemp="$$place/t" --ignore=tests/soak $(ARGS)

check: $(V)/.dev  ## Lint, format, types, layers; Python and Go
	@echo '== ruff';    $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo '== mypy';    $(BIN)/mypy
	@echo '== layers';  $(BIN)/lint-imports --no-logo
	@echo '== go vet';  go=$$PWD/scripts/go; cd guest && "$$go" vet ./... && \
	  bad=$$("$$("$$go" env GOROOT)/bin/gofmt" -l .) && { [ -z "$$bad" ] || { echo "gofmt would change: $$bad"; exit 1; }; }

format: $(V)/.dev  ## Let the tools mend what they can
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .
	@go=$$PWD/scripts/go; cd guest && "$$("$$go" env GOROOT)/bin/gofmt" -w .

references: $(V)/.dev  ## Write the pages of docs/reference/ that are made from the source
	@for page in config.reference:config metrics:metrics codes:codes audit.stream.kinds:events; do \
	  $(BIN)/python -m moorage.$${page%:*} >$(V)/page.md && cp $(V)/page.md docs/reference/$${page#*:}.md; done

go-test: $(V)/bin/python  ## The agent's own tests
	@echo '== go test'; go=$$PWD/scripts/go; cd guest && "$$go" test ./...

bench: $(V)/.dev  ## Us, sshd and the engine's raw API in one run; BENCH=quick for a short one
	@scripts/packages test
	@$(BIN)/python -m bench.run $(if $(filter quick,$(BENCH)),--quick) $(ARGS)

clients: $(V)/.dev  ## Every client in its real form, and docs/clients.md from what they have done
	@scripts/packages test
	@results=$$(mktemp) && trap 'rm -f "$$results"' EXIT && \
	  MOORAGE_CLIENT_RESULTS=$$results $(BIN)/python -u -m pytest tests/clients \
	    --deselect tests/clients/test_page.py::test_the_page_names_every_client_with_what_it_does $(ARGS) && \
	  $(BIN)/python -m tests.clients.page "$$results"

soak: $(V)/.dev  ## Ten minutes of logins: memory, descriptors and containers end where they began
	@scripts/packages test
	@$(BIN)/python -u -m pytest tests/soak $(ARGS)

fuzz: $(V)/.dev  ## 100,000 mutated packets against a live server, before and after the login
	@MOORAGE_FUZZ_CASES=50000 $(BIN)/python -u -m pytest tests/unit/ssh/test_fuzz.py tests/e2e/test_fuzz.py $(ARGS)

nightly: $(V)/.dev  ## All tests with many more examples, the fuzzers, then the soak and the benchmarks
	@$(MAKE) test ARGS='--hypothesis-profile=nightly -o timeout=1200'
	@$(MAKE) fuzz
	@$(MAKE) clients
	@$(MAKE) soak
	@$(MAKE) bench

lock:  ## Pin all Python packages anew; make lock ARGS=--upgrade
	@scripts/lock $(ARGS)

clean:  ## Remove what was built; the cache outside the clone stays
	@rm -rf $(V) $(AGENTS) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find src tests bench -name __pycache__ -prune -exec rm -rf {} +

# Below: each file is made once, and again when what it is made from has changed.

$(V)/bin/python:
	@echo '== .venv'
	@$(LOCK) scripts/venv $(V)

$(V)/.runtime: requirements/runtime.txt $(V)/bin/python
	@echo '== Python packages'
	@$(PIP) --require-hashes -r $< && touch $@

$(V)/.dev: requirements/dev.txt $(V)/.moorage
	@echo '== Python packages for development'
	@$(PIP) --require-hashes -r $< && touch $@

# A binary that is missing counts as changed.
$(V)/.agent: $(GUEST) build_agent.py $(filter-out $(wildcard $(AGENTS)),$(AGENTS)) | $(V)/.runtime
	@echo '== agent'
	@$(WITH_GO) $(LOCK) $(BIN)/python build_agent.py && touch $@

$(AGENTS): ;

$(V)/.moorage: pyproject.toml $(V)/.agent $(V)/.runtime
	@echo '== moorage'
	@$(PIP) --no-deps --no-build-isolation -e . && touch $@
