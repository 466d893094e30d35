# Every path is relative, so that a clone in a folder with a space works too.
UV := sh .ci/uv
RUN := $(UV) run --quiet

# What `make test` runs, for example: make test TESTS=tests/answers PYTEST="-n 0 -x"
TESTS ?= tests
PYTEST ?=
PART ?= core

# make demo KEEP=../market-desk leaves the rendered project there.
KEEP ?=
export KEEP

.DEFAULT_GOAL := help
.PHONY: help demo test layer lint examples bench release clean

help: ## Say what can be typed here
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: ## Render a project with everything in it, install it and run its story on a real PostgreSQL
	@$(RUN) python -m examples.demo

test: ## Render and install every combination of answers and prove each; run the deep tests
	@$(RUN) pytest $(TESTS) $(PYTEST)

layer: ## Run the deep tests of one part while you work on it: make layer PART=redis PYTEST="-k cache"
	@$(RUN) python -m tests.deep $(PART) $(PYTEST)

lint: ## Lint and type-check the harness itself
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy

examples: ## Render the projects under examples/ again
	@$(RUN) python -m examples.render

bench: ## Measure what rendering costs, side by side with the smallest template there can be
	@$(RUN) python -m benchmarks.render

release: ## Check, write the section of CHANGELOG.md and tag: make release VERSION=1.2.0
	@$(RUN) python .ci/release.py $(VERSION)

clean: ## Remove the environments and caches that the commands above made
	rm -rf .venv .cache .uv .mypy_cache .pytest_cache .ruff_cache uv.lock
