# `just` lists the recipes; `just check` is what a change must pass.

set positional-arguments

export PATH := justfile_directory() / ".venv/bin" + ":" + parent_directory(just_executable()) + ":" + env("PATH")

[private]
default:
    @just --list --unsorted

# Install the project and its development tools into .venv
setup:
    python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]'

# A real mesh on this machine: six processes, real inference, real faults
demo *args:
    meshnode demo {{args}}

# Unit, property, simulation, house and integration tests; three at a time, as many of them wait
test *args:
    python -m pytest -n 3 --dist worksteal {{args}}

# Style, types and floors: seconds
lint:
    ruff format --check . && ruff check . && mypy && lint-imports

# Format, and fix what can be fixed
fmt:
    ruff format . && ruff check --fix .

# Everything a change must pass
check: lint test

# Seeds of the simulator on all cores: `just sim 200`, `just sim 50 --first 1000`
sim count="50" *args:
    python -m meshnode.sim many {{args}} {{count}}

# The slow simulations among the tests
sim-tests:
    python -m pytest -m "slow or not slow" tests/sim

# Real nodes on hosts of their own, cut, lossy, behind NAT: minutes, needs root on Linux
netns *args:
    python -m pytest -m "slow or not slow" -s tests/netns {{args}}

# What the network's acceptance is measured by: minutes; `just figures dead churn`
figures *args:
    python -m meshnode.sim figures {{args}}

# Hostile input by the million, minutes of it: `just fuzz`, `just fuzz --count 100000 hostcalls`
fuzz *args:
    python -m tests.fuzz.long {{args}}

# Resident memory over 10^5 requests, 10^4 traps, 100 loads and unloads: two minutes
soak:
    python -m tests.bench soak

# Rebuild the guests with ziglang and compare them with the committed ones
guests:
    python -m pip install -q -e '.[guests]' && python guests/build.py --check

# Our signed records against pycose and python-cwt, both ways; they need a cbor2 of their own
interop:
    python3 -m venv .venv-interop && .venv-interop/bin/pip install -q pycose cwt
    INTEROP_PYTHON=.venv-interop/bin/python python -m pytest -rs tests/integration/test_cose_oracles.py

# Rewrite tests/vectors and docs/errors.md from the code; the diff is the review
generate:
    python -m tests.vectors.write && python -m tests.house.write_docs

# Timings as ratios against baselines of the same minute; never part of check
bench *args:
    python -m tests.bench {{args}}
