# `make` lists what there is. Everything works on a fresh Debian 12 or 13 with Python 3.11 to 3.13.
PYTHON ?= python3
VENV := .venv
TRAIN_VENV := .venv-train
WEB := tools/web
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TRAIN_READY := $(TRAIN_VENV)/.ready
WEB_READY := $(WEB)/node_modules/.ready
# one thread a process: the machines that tests run on have better uses for their cores than spinning
export OMP_NUM_THREADS = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1
WORKERS ?= auto

.DEFAULT_GOAL := help
.PHONY: help demo test test-cluster board board-arm home-assistant chaos chaos-smoke soak herd web web-serve web-test web-speed check cov bench bench-page street clips detector-report contract model test-train lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 18

demo: $(READY) ## a generated scene through the real agent and a real broker, live
	@$(BIN)/maskwatch demo

test: $(READY) ## all tests, on real servers where a test needs one
	$(BIN)/pytest -n $(WORKERS) --dist loadfile

test-cluster: $(READY) ## the brokers of Debian 13, three nodes of RabbitMQ among them, in a root built for it (needs root)
	$(BIN)/pytest -m cluster -q tests/integration

board: $(READY) ## a board from nothing to its first event: a real systemd, a real libcamera, kills, upgrades (needs root)
	$(BIN)/pytest -m board -n $(WORKERS) --dist loadfile -q tests/board

board-arm: $(READY) $(TRAIN_READY) ## what a Raspberry Pi does, from instructions counted under emulation (Debian; gcc)
	$(BIN)/python -m tools.arm

home-assistant: $(READY) ## discovery as Home Assistant's own core sees it, in a root built for it: 1.2 GB (needs root)
	$(BIN)/pytest -m home_assistant -q -s tests/home_assistant

SECONDS ?= 3600
chaos: $(READY) ## every fault again and again, SECONDS=3600: nothing lost, nothing uncounted (as root for all of them)
	$(BIN)/python -m tools.chaos --seconds $(SECONDS)

chaos-smoke: $(READY) ## each fault once, in three minutes
	$(BIN)/python -m tools.chaos --smoke --out .work/chaos/smoke

soak: $(READY) ## an hour at 20 events/s with a fault every 20 s: nothing grows
	$(BIN)/python -m tools.chaos.soak

herd: $(READY) ## a thousand agents and a broker that comes back
	$(BIN)/python -m tools.chaos.herd

web: $(WEB_READY) ## the browser page: static files in tools/web/dist, for any host
	npm --prefix $(WEB) run -s build

web-serve: web ## the same, on http://127.0.0.1:8788/
	npm --prefix $(WEB) run -s serve

web-test: $(READY) $(WEB_READY) ## the browser page in headless Chromium, against the agent
	npm --prefix $(WEB) run -s test

web-speed: $(READY) $(WEB_READY) ## milliseconds a picture in the browser beside the agent's, as JSON
	npm --prefix $(WEB) run -s speed

check: $(READY) ## formatting, linters, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy agent tools deploy
	$(BIN)/lint-imports

cov: $(READY) ## tests with coverage of agent/, lines and branches, at least 90 %
	$(BIN)/coverage erase
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --cov --cov-report= -q
	$(BIN)/coverage report --fail-under=90

bench: $(READY) ## every budget, measured
	$(BIN)/python -m tools.bench

bench-page: $(READY) ## the fleet page over ten million events (15 GB of /var/tmp, three minutes)
	$(BIN)/python -m tools.bench.page

street: $(READY) ## a street with known truth: persons found, told twice, mixed up, by size and frame rate (needs ../shared/data)
	@$(BIN)/python -m tools.bench.street --out docs/street.json

clips: $(READY) ## seven real clips with persons marked by eye: who is told once, twice, never (needs ../shared/data)
	@$(BIN)/python -m tools.bench.clips --out docs/clips.json --page docs/clips.md

detector-report: $(TRAIN_READY) ## faces found by size and label, beside other detectors, five minutes (needs ../shared/data)
	$(TRAIN_VENV)/bin/python -m tools.train.evaluate_detector --report

contract: $(READY) ## write JSON Schema and AsyncAPI anew from the types
	$(BIN)/python -m tools.contract

model: $(TRAIN_READY) ## write the shipped int8 models anew from the committed float checkpoints
	$(TRAIN_VENV)/bin/python -m tools.quantize

test-train: $(TRAIN_READY) ## tests of the training and quantizing scripts
	$(TRAIN_VENV)/bin/pytest -q tests/unit/test_train_*.py tests/unit/test_quantize_*.py

lock: ## write requirements/*.txt anew (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -c requirements/constraints.txt -c requirements/board-constraints.txt -o requirements/board.txt
	uv pip compile pyproject.toml --extra demo --extra fleet --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -c requirements/constraints.txt -o requirements/dev.txt

clean: ## remove everything that was made
	rm -rf $(VENV) $(TRAIN_VENV) $(WEB)/dist $(WEB)/node_modules .work dist build htmlcov .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "$(PYTHON): Python 3.11 to 3.13 is needed; make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m ensurepip --version >/dev/null 2>&1 \
		|| { echo "$(PYTHON): has no venv; apt-get install python3-venv" >&2; exit 1; }
	@echo "installing into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -q --no-deps -e .
	@touch $@

$(TRAIN_READY): requirements/dev.txt pyproject.toml
	@echo "installing into $(TRAIN_VENV) (PyTorch and TensorFlow: gigabytes) ..."
	@test -x $(TRAIN_VENV)/bin/python || $(PYTHON) -m venv $(TRAIN_VENV)
	@$(TRAIN_VENV)/bin/python -m pip install -q torch==2.13.0
	@$(TRAIN_VENV)/bin/python -m pip install -q -e '.[train,tools]' pytest pytest-timeout hypothesis
	@touch $@

$(WEB_READY): $(WEB)/package.json $(WEB)/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: apt-get install nodejs npm" >&2; exit 1; }
	@node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' \
		|| { echo "node $$(node --version) is too old for Vite: 20.19 or later is needed (Debian 13 has it)" >&2; exit 1; }
	@npm --prefix $(WEB) ci --no-audit --no-fund --loglevel=error
	@touch $@
