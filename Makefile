# The two commands of a fresh machine are `make demo` and `make test`; each installs what is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO_DATA := demo_hands

.PHONY: demo install test faults cluster-test hosts-test browser-test bench lint audit

demo: install
	$(BIN)/python jobs/make_phantoms.py --people 40 --test-people 10 --size 1024 --out $(DEMO_DATA)
	$(BIN)/python jobs/train_kfold.py --model hrnet --preset demo --data $(DEMO_DATA) --name demo

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

test: install
	$(BIN)/python -m pytest -m 'not faults and not cluster and not hosts and not browser'

# Processes killed, machines lost, disks full in the middle of jobs; the table of faults is
# benchmarks/results/faults.csv. Those that need a small disk of their own are run as root.
faults: install
	HANDRAY_FAULTS=benchmarks/results/faults.csv $(BIN)/python -m pytest -m faults

# `ray up cluster.yaml` on hosts that are network namespaces of this machine. As root, on Linux, with
# Debian's openssh-server, openssh-client, iproute2 and rsync; skipped without.
cluster-test: install
	$(BIN)/python -m pytest -m cluster

# Power cuts, cut cables and full disks on such hosts: rows of the same table, 20 minutes.
hosts-test: install
	HANDRAY_FAULTS=benchmarks/results/faults.csv $(BIN)/python -m pytest -m hosts

# The viewer in Debian's chromium, a minute; skipped without. Leaves screenshots/.
browser-test: install
	$(BIN)/python -m pytest -m browser

# The table of speeds beside the competition's own way, about 20 minutes.
bench: install
	$(BIN)/python benchmarks/speed.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Known vulnerabilities of the versions that we test with. Whatever can't be looked up counts too.
audit: install
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt
