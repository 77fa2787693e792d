# Everything there is to run. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON := .venv/bin/python
# Options for `make lock`: LOCK_OPTIONS=--upgrade takes the newest versions, else what is locked stays.
LOCK_OPTIONS ?=
SECONDS ?= 60
# How many schools `make bench-rentree` takes, one run for each number.
SCHOOLS ?= 10 20 40
# How long `make faults` kills at random: so many processes at least, under so many moves at least.
KILLS ?= 1500
MOVES ?= 2000
COMPILE = .venv/bin/uv pip compile --quiet --system-certs --generate-hashes --no-emit-index-url --no-header --python-version 3.11 $(LOCK_OPTIONS)
# The long ones, and what kills at each crash point in every run of the tests.
FAULTS = tests/faults $(addprefix tests/integration/,transfer/test_crash_points.py transfer/test_undo_killed.py transfer/test_join_stories.py $(addprefix siecle_import/,test_crashes.py test_workers.py))
TYPED = $(wildcard contracts/src libs/*/src services/*/src deploy/embedded/src tests benchmarks)

.PHONY: help setup demo run test proofs faults hostile hostile-images hostile-api fuzz bench-move bench-import bench-join bench-rentree bench-idle model lint types imports schemas asyncapi reference check lock clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-22s%s\n", $$1, $$2}'

setup: ## Install what is missing, the locked packages and the Kafka broker (quick when done)
	@scripts/setup

demo: setup ## Play the whole way on real servers: schools import, records follow, every record is checked
	@$(PYTHON) -m cpro_embedded.demo

run: setup ## Run the servers and the four services with demo schools, until Ctrl-C
	@$(PYTHON) -m cpro_embedded.run

test: setup ## Run the tests on real servers (some minutes, two at a time), without the long fault tests
	@$(PYTHON) -m pytest -q -m "not faults and not slow" -n 2 --dist loadfile

proofs: setup ## Try the properties with all their examples, and run what the tests leave out (a quarter of an hour)
	@CPRO_PROOFS=long $(PYTHON) -m pytest -q -m "(proof or slow) and not faults" -n 2 --dist loadfile

faults: setup ## Take servers away, kill and freeze processes at every step and at random (KILLS=1500, MOVES=2000)
	@FAULT_KILLS=$(KILLS) FAULT_MOVES=$(MOVES) $(PYTHON) -m pytest -q --no-header -n 2 --dist worksteal \
		-p cpro_test_support.faults.summary $(FAULTS)

hostile: setup ## Read hundreds of hostile files: none accepted; show the worst time and memory
	@$(PYTHON) -m pytest -q -s --no-header --log-level=ERROR tests/unit/siecle_import/test_hostile_files.py

hostile-images: setup ## Decode hundreds of hostile pictures: refused or clean; show the worst time and memory
	@$(PYTHON) -m pytest -q -s --no-header --log-level=ERROR tests/unit/media/test_hostile_pictures.py

hostile-api: setup ## Ask the four services whatever schemathesis can make up, for a while (SECONDS=60); show its summary
	@HOSTILE_SECONDS=$(SECONDS) $(PYTHON) -m pytest -q -s --no-header tests/schemathesis/test_hostile_api.py

fuzz: setup ## Read damaged exports for a while (SECONDS=60): only refusals, or lines that can be stored
	@$(PYTHON) tests/fuzz/fuzz_siecle_reader.py --seconds $(SECONDS)

bench-move: setup ## Measure the move: speed beside a naive mover and a plain COPY, verification, the wait (some minutes)
	@$(PYTHON) benchmarks/move_speed.py

bench-import: setup ## Measure the import: speed, memory, a school's wait, workers (a quarter of an hour)
	@$(PYTHON) benchmarks/import_speed.py

bench-join: setup ## Measure the join beside quixstreams and Kafka Streams (some ten minutes)
	@scripts/join-peers
	@$(PYTHON) benchmarks/join_speed.py

bench-rentree: setup ## Measure the rentrée: all schools at once, up to the last transfer (SCHOOLS="10 20 40"; ten minutes)
	@$(PYTHON) benchmarks/rentree.py $(SCHOOLS)

bench-idle: setup ## Show that 500 establishments at rest cost no connection and no query (some minutes)
	@$(PYTHON) benchmarks/idle.py

model: ## Search the model of the move with spin: whole, then without each guard (some minutes)
	@scripts/model

lint: setup ## Check style and format
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m ruff format --check

types: setup ## Check types, strictly
	@$(PYTHON) -m mypy $(TYPED)

imports: setup ## Check who may import whom
	@.venv/bin/lint-imports

schemas: setup ## Write the event schemas from the contracts
	@$(PYTHON) -m cpro_test_support.schemas

asyncapi: ## Validate the description of the events with the AsyncAPI initiative's own parser (needs Node)
	@cd tests/contracts/asyncapi && npm ci --silent --ignore-scripts && node validate.mjs $(CURDIR)/contracts/asyncapi.yaml

reference: setup ## Write the reference of the HTTP APIs (OpenAPI, problems) from the code
	@$(PYTHON) -m cpro_test_support.reference

check: lint types imports test ## Everything that CI checks

lock: setup ## Lock the requirements again (LOCK_OPTIONS=--upgrade for newer versions)
	@$(COMPILE) -o requirements.txt requirements.in
	@$(COMPILE) -c requirements.txt -o requirements-dev.txt requirements-dev.in
	@$(COMPILE) -o benchmarks/requirements.txt benchmarks/requirements.in

clean: ## Delete what set-up, runs and tools have made
	@rm -rf .venv .cache .run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
