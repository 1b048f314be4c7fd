# `just` lists the commands.
default:
    @just --list

# makes .venv and installs everything
setup:
    ./scripts/setup

# lint, format and types
check: setup
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/mypy

# all checks and tests, or the named tests
test *args:
    ./scripts/test {{args}}

# the whole chain on the sample crawl
demo:
    ./scripts/demo

# figures that the docs quote (needs ../shared/data)
bench: setup
    .venv/bin/python bench/extraction.py
    .venv/bin/python bench/dedup_truth.py
