# Two commands on a fresh machine: `make demo` and `make test`. Both set up .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

.PHONY: help venv demo test lint types contracts bench clean

help: ## Show the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -U 'pip>=25.1'
	@echo "Installing raisehand into .venv (a few minutes the first time)"
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e . --group dev
	@touch $@

venv: .venv/ready ## Install everything into .venv

lint: .venv/ready ## Style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/ready ## mypy, strict
	$(BIN)/mypy

contracts: .venv/ready ## Who may import whom
	$(BIN)/lint-imports

test: lint types contracts ## Lint, types, import contracts, every test
	$(BIN)/python -m pytest

clean: ## Remove environments, caches and reports
	rm -rf .venv .venv-* .cache reports
