# `make` lists the targets. Every target first installs what it needs and is missing (scripts/setup).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.PHONY: help demo test rust python integrations tasks golden speed bench smoke soak ci fmt lint doc docs examples wheel

export PATH := $(PATH):$(HOME)/.cargo/bin
export DELTALAKEDB_VENV ?= $(HOME)/.cache/deltalakedb/venv
export DELTALAKEDB_PYTHON ?= $(DELTALAKEDB_VENV)/bin/python
export DELTALAKEDB_LIBDUCKDB ?= $(HOME)/.cache/deltalakedb/libduckdb-1.5.6
export DELTALAKEDB_LIBROCKSDB ?= $(HOME)/.cache/deltalakedb/librocksdb-11.8.1
# The same for every clone: those that share a target folder do not build the bindings of the two again for each other.
export DUCKDB_LIB_DIR ?= $(DELTALAKEDB_LIBDUCKDB)
export ROCKSDB_LIB_DIR ?= $(DELTALAKEDB_LIBROCKSDB)

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## the tour, its tables read again by DuckDB and delta-rs
	@scripts/setup python
	@keep=$$(mktemp -d); trap 'rm -rf "$$keep"' EXIT; \
	cargo run --bin dl -- demo --keep "$$keep"; \
	"$$DELTALAKEDB_PYTHON" scripts/check_outside_readers.py "$$keep/demo.json"

test: ## every test, and a count of those that were left out
	@scripts/setup test
	scripts/skipped scripts/postgres with bash -ec '\
	  cargo test --workspace --exclude deltalakedb-benches; \
	  scripts/python test'

rust: ## the tests in Rust
	@scripts/setup test
	scripts/skipped scripts/postgres with cargo test --workspace --exclude deltalakedb-benches

python: ## the tests of the Python package
	@scripts/setup test
	scripts/skipped scripts/postgres with scripts/python test

integrations: ## Dagster, dlt, Daft and others with the package in the place of `deltalake`
	@scripts/setup integrations
	scripts/python integrations

tasks: ## ten tasks by the documentation alone, with a wheel of this checkout in an empty folder
	@scripts/setup test
	scripts/python build
	scripts/check_tasks

golden: ## the tests with tables of the reference implementation; fails where these are missing
	@scripts/setup test
	DELTA_GOLDEN_DIR=$$(scripts/golden); export DELTA_GOLDEN_DIR; \
	CI=true scripts/postgres with cargo test -p deltalakedb-tests --test it -- golden features fixtures outside

speed: ## the floors below which a catalog is not usable, by the clock: for a quiet machine
	@scripts/setup test
	scripts/postgres with cargo test -p deltalakedb-tests --test speed -- --nocapture

wheel: ## the Python package as PyPI takes it, a wheel and its source in dist/
	@scripts/setup wheel
	scripts/python sdist
	scripts/python wheel

bench: ## the table of us beside our peers
	@scripts/setup bench
	scripts/python build --release
	scripts/postgres with "$${CARGO_TARGET_DIR:-target}/release/deltalakedb-benches"

smoke: ## the same on small tables, to see that it runs
	@scripts/setup bench
	scripts/python build --release
	scripts/postgres with "$${CARGO_TARGET_DIR:-target}/release/deltalakedb-benches" small

soak: ## the long versions of the random tests
	@scripts/setup test
	DELTALAKEDB_SOAK=1 scripts/postgres with cargo test --workspace --exclude deltalakedb-benches --test it -- \
	  --nocapture random_histories every_file_with_a_matching_row random_operations transactions:: from_scratch:: \
	  under_store_faults after_power_failures a_crash_of_changes_and_flushes
	DELTALAKEDB_SOAK=1 cargo test --workspace --exclude deltalakedb-benches --lib -- --nocapture random_queries \
	  random_histories_equal_a_model random_failures_of_the_disk
	DELTALAKEDB_SOAK=1 scripts/postgres with cargo test -p deltalakedb-catalog --lib -- \
	  --nocapture a_table_is_made_and_found a_point_costs no_question

examples: ## run the programs in examples/
	@scripts/setup
	@for example in examples/*.rs; do \
	  echo "$$example"; cargo run --quiet --example "$$(basename "$$example" .rs)"; \
	done

ci: lint doc docs test integrations examples demo ## what CI runs
	@cargo build --bin dl && scripts/check_readme && scripts/check_tasks

fmt: ## format the code
	@scripts/setup python
	cargo fmt --all
	"$$DELTALAKEDB_PYTHON" -m black --quiet python examples/*.py

lint: ## words, prose, format, workflows, shell scripts, dependencies, clippy
	@scripts/setup lint
	scripts/check_words
	scripts/check_prose
	cargo fmt --all --check
	scripts/check_workflows
	git grep --untracked -lE '^#!/usr/bin/env bash' | xargs shellcheck
	scripts/deny
	@scripts/setup python
	scripts/python lint
	cargo clippy --workspace --all-targets -- -D warnings
	@# Each by itself: features that other crates ask for are not there for its users.
	for crate in log mirror catalog; do cargo check --quiet -p "deltalakedb-$$crate" || exit 1; done
	@# With the features of the wheel on PyPI, except that RocksDB is not built from source.
	cargo check --quiet -p deltalakedb-python --no-default-features

doc: ## the API documentation, its warnings are errors
	@scripts/setup
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

docs: ## the documentation site in site/, its warnings are errors
	scripts/docs
