# What a person or CI does here. Nothing but Rust, Python 3.11 (with venv), a C compiler, GNU make and a POSIX host is
# needed: Chroma and cargo-deny are installed into the user's cache, outside the checkout. With Go, the charts are checked,
# too: helm and its like are built into the same cache. As root on Linux with cgroup v1 and Go the scenarios run on a real
# cluster, which is built there, too. As root, `make test` and `make cluster-*` first install Debian packages with apt-get.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO_DENY_VERSION := 0.20.2
CARGO_MUTANTS_VERSION := 27.1.0
CACHE := $(or $(MEMORY_MIGRATION_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/memory-migration-operator)
TOOLS := $(CACHE)/tools
CARGO_DENY := $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny
CARGO_MUTANTS := $(TOOLS)/cargo-mutants-$(CARGO_MUTANTS_VERSION)/bin/cargo-mutants
SCRIPTS = $(shell git ls-files '*.sh' .ci/run)

.PHONY: help
help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: require-rust
require-rust:
	@command -v cargo >/dev/null || { echo "make: needs Rust (cargo): install it from https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || \
	  { echo "make: needs a C compiler for SQLite: install gcc or clang, on Debian 'apt-get install gcc'" >&2; exit 1; }

.PHONY: build
build: require-rust ## Builds the command in release mode
	cargo build --locked --release
	@! grep -qa 'MEMORY_MIGRATION_FAULT' target/release/memory-migration || \
	  { echo "make build: the release binary has the tests' fault points" >&2; exit 1; }

IMAGE_TAR ?= target/image.tar
.PHONY: image
image: require-rust ## Makes the operator's image, without a container engine (IMAGE=NAME:TAG, IMAGE_TAR=FILE, IMAGE_ARCH)
	mkdir -p "$(dir $(IMAGE_TAR))"
	IMAGE_ARCH="$(IMAGE_ARCH)" deploy/image.sh "$(IMAGE_TAR)" $(IMAGE)

.PHONY: demo
demo: require-rust ## Moves 500 memories from a local store to a Chroma server and back, and proves it (compiles first, once)
	cargo build --locked --profile demo
	deploy/demo.sh "$$(cargo build --locked --profile demo --quiet --message-format=json --bin memory-migration | \
	  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')"

.PHONY: pictures
pictures: require-rust ## Renews docs/pictures: the architecture, a recording of the demo, a report
	python3 docs/pictures/architecture.py
	cargo build --locked
	python3 docs/pictures/cast.py record docs/pictures/demo.cast deploy/demo.sh "$$(cargo build --locked --quiet \
	  --message-format=json --bin memory-migration | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')"
	python3 docs/pictures/cast.py draw docs/pictures/demo.cast docs/pictures/demo.svg
	tests/page/install.sh
	"$$(cargo build --locked --quiet --message-format=json --bin memory-migration | \
	  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')" report tests/page/report.json --html target/report.html
	for scheme in light dark; do \
	  python3 tests/page/browser.py picture target/report.html $$scheme 1100 1150 docs/pictures/report-$$scheme.png; \
	done

.PHONY: kind-demo
kind-demo: ## The same on Kubernetes: a kind cluster, the chart, deploy/quickstart (needs docker, kind, kubectl, helm)
	deploy/kind-demo.sh

.PHONY: chroma
chroma: ## Installs the Chroma versions that tests run against (3 minutes, once)
	tests/chroma/install.sh all server

.PHONY: unit-test
unit-test: require-rust ## Runs the unit tests alone
	cargo test --locked --lib

.PHONY: rust-test
rust-test: require-rust chroma ## Runs the unit and integration tests, against real Chroma
	@# many tests wait for a server's timeout: one more than there are cores keeps them busy
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(($$(getconf _NPROCESSORS_ONLN) + 1))} cargo test --locked

.PHONY: test
test: require-rust chroma ## Runs every test; as root, it installs Debian packages for the test cluster, and Chromium
	@tests/page/install.sh || echo "make test: the report's page is NOT looked at in a browser" >&2
	@# the scenarios' program, in the time that the tests leave: they wait for servers; what fails here fails again below
	@[ "$$(id -u)" != 0 ] || nice -n 19 deploy/program.sh >/dev/null 2>&1 &
	$(MAKE) --no-print-directory rust-test
	python/test.sh
	@if command -v go >/dev/null; then \
	  tests/charts/check.sh; \
	  tests/workflows.sh; \
	else \
	  echo "make test: charts, manifests and alert rules NOT checked, that needs Go: https://go.dev/dl" >&2; \
	fi
	@if [ -n "$(MEMORY_MIGRATION_KUBECONFIG)" ] || tests/cluster/cluster.sh install; then \
	  tests/cluster/test.sh; \
	else \
	  echo "make test: the scenarios on a real cluster were NOT run, for what is said above" >&2; \
	fi

# SEED repeats a campaign, or goes on with one that was stopped; MOST bounds how many of each side are tried.
.PHONY: mutants
mutants: require-rust chroma ## Damages a copy in every way, checks that each is found, into docs/reliability.md (15 minutes)
	MUTANTS=all SEED=$(SEED) MOST=$(MOST) cargo test --locked --test suite mutants::campaign -- --nocapture

# SEED repeats a campaign; SECONDS bounds it; ONLY names one target.
.PHONY: fuzz
fuzz: require-rust chroma ## Gives each parser what nobody would write, into docs/reliability.md (an hour; SECONDS=60: a minute)
	FUZZ=all SEED=$(SEED) SECONDS=$(SECONDS) ONLY=$(ONLY) \
	  cargo test --locked --test suite fuzz::series::campaign -- --exact --nocapture

# SEED repeats a campaign, or goes on with one that was stopped; MINUTES bounds one go, MOST the files that are sampled.
.PHONY: mutants-code
mutants-code: require-rust $(CARGO_MUTANTS) ## Changes the code that decides, checks that a test fails, into docs/reliability.md (30 minutes a go)
	python3 tests/mutants/code.py --tool "$(CARGO_MUTANTS)" --target "$(or $(CARGO_TARGET_DIR),target)" \
	  $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(MOST),--most $(MOST)) $(if $(ONLY),--only $(ONLY))

# SEED repeats a campaign, or goes on with one that was stopped; ROW and TRIAL name what is repeated.
.PHONY: faults
faults: require-rust chroma ## Breaks everything around a run, judges what is left, into docs/reliability.md (an hour; QUICK=1: 10 minutes)
	FAULTS=all SEED=$(SEED) QUICK=$(QUICK) ROW=$(ROW) TRIAL=$(TRIAL) \
	  cargo test --locked --test suite campaign::series::campaign -- --exact --nocapture
	@if [ -z "$(ROW)$(QUICK)" ]; then FAULTS=all cargo test --locked --test suite scenarios::points:: -- --nocapture; fi

.PHONY: charts-test
charts-test: ## Checks charts, manifests and alert rules: needs Go, no cluster (5 minutes once, then seconds)
	tests/charts/check.sh

.PHONY: workflows-test
workflows-test: ## Lints the workflows: needs Go
	tests/workflows.sh

.PHONY: charts-generate
charts-generate: ## Renews what is made from crds/ and the charts' values
	tests/charts/generate.sh

# BENCH_RECORDS names the sizes; BENCH=--quick runs small ones, to see that it works.
.PHONY: bench
bench: require-rust ## Measures ours beside a plain loop and Chroma's own ceiling, into docs/benchmarks.md (25 minutes)
	cargo build --locked --release
	python=$$(tests/chroma/install.sh 1.5.9 | sed 's/^[^ ]* //')/bin/python; \
	server=$$(tests/chroma/install.sh server | sed 's/^[^ ]* //')/bin/chroma; \
	binary=$$(cargo build --locked --release --quiet --message-format=json --bin memory-migration | \
	  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'); \
	"$$python" bench/bench.py --binary "$$binary" --server "$$server" --cache "$(CACHE)" $(BENCH)

# PARTS are those of deploy/release.sh; DIST is where they go.
.PHONY: release
release: require-rust ## Makes parts of a release (PARTS="program wheel", DIST=FOLDER); publishes nothing
	deploy/release.sh "$(or $(DIST),target/dist)" $(PARTS)

.PHONY: release-check
release-check: require-rust ## Makes and checks what of a release this machine can make, signs it with a throwaway key (needs Go)
	deploy/release.sh target/release-check check

.PHONY: wheel
wheel: require-rust ## Makes the Python wheel, in release mode (DIST=FOLDER)
	python/wheel.sh "$(or $(DIST),target/dist)"

.PHONY: python-test
python-test: require-rust ## Installs the wheel of a debug build with each Python from 3.9 on, and tests it against real Chroma
	python/test.sh

.PHONY: fmt
fmt: require-rust ## Formats the code
	cargo fmt

.PHONY: lint
lint: require-rust deny ## Checks format, clippy, dependencies, rustdoc and shell scripts
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items
	@for script in $(SCRIPTS); do bash -n "$$script"; done

.PHONY: deny
deny: tools ## Checks licences, sources and advisories of the dependencies
	"$(CARGO_DENY)" --locked check --hide-inclusion-graph bans licenses sources
	@if "$(CARGO_DENY)" fetch db >"$(TOOLS)/fetch.log" 2>&1; then \
	  "$(CARGO_DENY)" --locked check advisories; \
	else \
	  echo "make deny: advisories NOT checked, their database cannot be fetched:" >&2; tail -n 3 "$(TOOLS)/fetch.log" >&2; \
	fi

.PHONY: tools
tools: $(CARGO_DENY) ## Installs cargo-deny (a few minutes, once)

# A debug build: it takes half the time to compile, and runs for a second.
$(CARGO_DENY): | require-rust
	env -u CARGO_TARGET_DIR cargo install --quiet --locked --debug --root "$(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)" \
	  "cargo-deny@$(CARGO_DENY_VERSION)"

$(CARGO_MUTANTS): | require-rust
	env -u CARGO_TARGET_DIR cargo install --quiet --locked --debug --root "$(TOOLS)/cargo-mutants-$(CARGO_MUTANTS_VERSION)" \
	  "cargo-mutants@$(CARGO_MUTANTS_VERSION)"

# NODES=2 adds a second node to the cluster of this target and of those below.
.PHONY: cluster-up
cluster-up: ## Starts a real Kubernetes for tests, of NODES=1 or 2 nodes (15 minutes the first time, then seconds)
	NODES=$(or $(NODES),1) tests/cluster/cluster.sh up

# SCENARIOS names some of them; cluster-idle runs those that measure for minutes.
.PHONY: cluster-test
cluster-test: require-rust ## Runs the scenarios on a real cluster: this one, or that of MEMORY_MIGRATION_KUBECONFIG
	tests/cluster/test.sh $(SCENARIOS)

.PHONY: cluster-demo
cluster-demo: require-rust ## Shows one migration on a real cluster, live, and leaves the cluster up (20 minutes the first time)
	tests/cluster/test.sh --demo

.PHONY: cluster-idle
cluster-idle: ## Counts what the operator writes while nothing changes: idle, and with migrations that wait (15 minutes)
	$(MAKE) --no-print-directory cluster-test SCENARIOS="ten_minutes_idle few_writes_whatever_refuses"

.PHONY: cluster-nodes
cluster-nodes: require-rust ## Runs the scenarios that need two nodes: drained, hung, paused, switched off (30 minutes)
	NODES=2 tests/cluster/test.sh --module nodes $(SCENARIOS)

# SEED repeats a campaign, or goes on with one that was stopped; ROWS names some by words; QUICK=1 takes few of each.
.PHONY: faults-cluster
faults-cluster: require-rust ## Breaks a cluster of two nodes while migrations run, into docs/reliability.md (an hour)
	NODES=2 tests/cluster/test.sh --faults $(if $(SEED),--seed $(SEED)) $(if $(QUICK),--quick) $(ROWS)

# RUNS, MINUTES and FINISHED bound it.
.PHONY: soak
soak: require-rust ## 500 migrations in sequence, 30 at once, 2,000 finished ones, into docs/reliability.md (an hour and more)
	tests/cluster/test.sh --soak $(if $(RUNS),--runs $(RUNS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(FINISHED),--finished $(FINISHED))

.PHONY: rights
rights: ## Compares what the operator may do with what it did, in the cluster that is up, into docs/security.md
	tests/cluster/cluster.sh sh python3 $(CURDIR)/tests/cluster/rights.py --write

.PHONY: cluster-down
cluster-down: ## Ends it; nothing of it stays but its programs in the cache
	tests/cluster/cluster.sh down

.PHONY: cluster-shell
cluster-shell: ## Opens a shell in it, in the checkout: kubectl and helm work, Services resolve
	tests/cluster/cluster.sh shell
