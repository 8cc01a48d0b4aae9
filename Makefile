# The tasks of the project. `make help` lists them.

CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR

# What tests could not try (tests/it/harness/untested.rs).
UNTESTED = $(CARGO_TARGET_DIR)/tmp/untested

.PHONY: help setup build demo test lint chaos soak simulate mutants bench bench-cluster bench-local bench-processes install

help: ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

setup: ## install what is missing to build and test (Debian, Ubuntu)
	scripts/setup.sh test

build: ## the release binary: target/release/leasehold
	scripts/setup.sh build
	cargo build --release --locked

demo: ## start a throw-away etcd and show two contenders for one lock
	scripts/setup.sh demo
	cargo build --release --locked
	examples/demo.sh "$(CARGO_TARGET_DIR)/release/leasehold"

lint: ## formatting, clippy and rustdoc without a warning
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo check --locked --manifest-path fuzz/Cargo.toml --no-default-features
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	@if cargo deny --version >/dev/null 2>&1; then \
	    echo cargo deny; cargo deny --offline check bans licenses sources; \
	else echo "cargo-deny is not installed: licences are not checked"; fi

test: setup lint ## everything that has to pass: lint, then every test, against a real etcd
	rm -f "$(UNTESTED)"
	before="$$(git diff | cksum)"; scripts/chaos.sh begin; \
	LEASEHOLD_TEST_FAULTS="$(CARGO_TARGET_DIR)/chaos" cargo nextest run --locked --retries 0; status=$$?; \
	scripts/chaos.sh table || status=1; \
	test "$$(git diff | cksum)" = "$$before" || { echo "the tests changed files that are checked in"; status=1; }; \
	if [ -e "$(UNTESTED)" ]; then echo "Not tested on this machine:"; sort -u "$(UNTESTED)"; fi; \
	exit $$status

chaos: ## every fault of docs/faults.md against etcd 3.4 and 3.5: one line each, injected, expected, seen
	scripts/setup.sh chaos
	scripts/chaos.sh run 3.4
	scripts/chaos.sh run 3.5

soak: ## contenders against a random nemesis: make soak MINUTES=10 SEED=1
	scripts/setup.sh chaos
	cargo build --locked --examples
	LEASEHOLD_TEST_SOAK_MINUTES="$(or $(MINUTES),10)" $(if $(SEED),LEASEHOLD_TEST_SEED="$(SEED)") \
	    cargo test --locked --test it -- --exact --nocapture chaos::soak::contenders_count_under_a_random_nemesis

SIMULATION = cargo test --locked --profile simulation --bin leasehold -- --nocapture --exact

simulate: ## seeded histories: make simulate SEED=1 RUNS=100000 THREADS=2
	SEED="$(SEED)" RUNS="$(or $(RUNS),20000)" THREADS="$(THREADS)" \
	    $(SIMULATION) simulation::tests::fresh_histories_keep_every_promise simulation::modes::tests::histories_with_readers_and_slots_keep_every_promise \
	    simulation::policies::tests::histories_with_policies_keep_every_promise

mutants: ## after how many histories the simulator finds each broken rule: the tables of docs/correctness.md
	COUNT=1 $(SIMULATION) --test-threads 1 $(addprefix simulation::matrix::,every_mutant_is_found every_mutant_of_the_modes_is_found every_mutant_of_the_policies_is_found \
	    every_mutant_of_a_regression_is_found every_check_finds_a_mutant_by_itself \
	    the_checks_of_every_invariant_find_its_mutants)
	@sed -n '/made by `make mutants`/,/so much for/p' docs/correctness.md

bench: ## the figures of the README
	scripts/setup.sh bench
	cargo build --release --locked
	cargo build --release --locked --example probe
	benches/run.sh "$(CARGO_TARGET_DIR)/release"

bench-cluster: ## the figures of docs/etcd.md
	scripts/setup.sh bench
	cargo build --release --locked
	cargo build --release --locked --example probe
	benches/cluster.sh "$(CARGO_TARGET_DIR)/release"

bench-local: ## the figures of docs/local.md
	scripts/setup.sh bench
	cargo build --release --locked
	benches/local.sh "$(CARGO_TARGET_DIR)/release/leasehold"

bench-processes: ## the figures of docs/processes.md (some minutes)
	scripts/setup.sh bench
	cargo build --release --locked
	cargo build --release --locked --example probe --example measure
	benches/processes.sh "$(CARGO_TARGET_DIR)/release"

install: ## cargo install of this working tree
	scripts/setup.sh build
	cargo install --locked --path .
