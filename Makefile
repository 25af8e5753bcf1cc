# Fairground's commands. `make` alone lists them.
#
# CARGO_TARGET_DIR moves everything that is built. FAIRGROUND_REQUIRE_ALL=1 turns tests that would be skipped (a program is
# missing) into failures; CI sets it. cargo-nextest is used where it is installed.

.DEFAULT_GOAL := help
CARGO ?= cargo
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
export CARGO_TARGET_DIR := $(TARGET)

# The versions in Cargo.lock, always: what is tested is what is built.
FAIRGROUND_BUILD ?= $(CARGO) build --release --locked -p fairground-ffi
include ffi/install.mk

HAVE_NEXTEST := $(shell $(CARGO) nextest --version 2>/dev/null)
# $(call run_tests,PACKAGE): its unit tests and its tests of whole programs; doc tests have a step of their own.
ifneq ($(HAVE_NEXTEST),)
run_tests = $(CARGO) nextest run --locked --workspace --no-tests fail -E 'package(=$(1))'
else
run_tests = $(CARGO) test --locked -p $(1) --tests
endif

# Other flags invalidate everything that was built, hence folders of their own.
PORTABLE := CARGO_TARGET_DIR='$(TARGET)/portable' RUSTFLAGS='$(RUSTFLAGS) --cfg fairground_portable'
LOOM := CARGO_TARGET_DIR='$(TARGET)/loom' RUSTFLAGS='$(RUSTFLAGS) --cfg loom'

.PHONY: help
help:
	@echo 'make demo            real programs on both allocators, side by side (builds in a minute or two, runs in two)'
	@echo 'make test            everything that CI runs (under half an hour on two cores)'
	@echo 'make test-long       more of it: do the tests notice faults, more random cases (about half an hour more)'
	@echo 'make bench           micro benches against the system, jemalloc and mimalloc (criterion; about ten minutes)'
	@echo 'make compare         workloads, redis and process start under all allocators that are there (COMPARE_FLAGS=--quick for a few minutes)'
	@echo 'make bench-runtime   green threads beside tokio, smol, may, Go and OS threads (BENCH_RUNTIME_FLAGS=--quick for a few minutes)'
	@echo 'make install         library, header, pkg-config file and launcher to PREFIX=/usr/local; uninstall removes them'
	@echo 'make setup           installs the programs that the tests use (apt-get; names them first)'
	@echo 'make format          formats the sources'
	@echo 'make clean           removes what was built'
	@echo 'Steps of make test: $(STEPS)'

# ---------------------------------------------------------------------------------------------------------------- tests

# In this order: what is quick and fails often comes first.
STEPS := setup check-format check-lints build test-core test-runtime test-portable test-page-sizes model test-ffi \
	test-programs test-examples test-gates test-docs test-stress fuzz

.PHONY: test test-long
test:
	@rm -f '$(TARGET)/skipped-tests.txt'
	@MAKE='$(MAKE)' SKIPPED='$(TARGET)/skipped-tests.txt' tests/steps.sh $(STEPS)

LONG_STEPS := setup check-tests-can-fail test-random model-long stress-long test-asan test-tsan test-aarch64
test-long:
	@rm -f '$(TARGET)/skipped-tests.txt'
	@MAKE='$(MAKE)' SKIPPED='$(TARGET)/skipped-tests.txt' tests/steps.sh $(LONG_STEPS)

.PHONY: $(STEPS) $(filter-out $(STEPS),$(LONG_STEPS))

# Each step says what it does and how long that takes at most on two cores, building from nothing.

setup:
	@echo 'Programs that the tests run, from the distribution (nothing if all are there, else up to 5 minutes)'
	@tests/install-programs.sh test || { \
		test "$$FAIRGROUND_REQUIRE_ALL" != 1 && echo 'Going on without: tests that cannot run are named at the end.'; }
	@for tool in fmt clippy; do \
		$(CARGO) $$tool --version >/dev/null 2>&1 && continue; \
		component=$$(echo $$tool | sed s/fmt/rustfmt/); \
		echo "Adding the Rust component $$component"; rustup component add $$component || exit 1; done

check-format:
	@echo 'The sources are formatted (seconds)'
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path benches/peers/Cargo.toml --check
	$(CARGO) fmt --manifest-path benches/runtimes/Cargo.toml --check

check-lints:
	@echo 'No warnings from compiler and clippy, in any of the four configurations (5 minutes)'
	@$(CARGO) update --quiet --workspace --locked --manifest-path benches/runtimes/Cargo.toml || { echo \
		'benches/runtimes/Cargo.lock is older than runtime/Cargo.toml: the same command without --locked renews it'; exit 1; }
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked -p fairground-allocator --all-targets --features valgrind,asan -- -D warnings
	$(PORTABLE) $(CARGO) clippy --locked -p fairground-allocator -p fairground-runtime --all-targets -- -D warnings
	$(LOOM) $(CARGO) clippy --locked -p fairground-allocator --lib --profile test -- -D warnings
	$(LOOM) $(CARGO) clippy --locked -p fairground-runtime --lib --profile test -- -D warnings -A dead-code -A unused-imports

build:
	@echo 'Library, launcher and benches with the release profile, as the tests use them (5 minutes)'
	$(CARGO) build --locked --release -p fairground-ffi
	$(CARGO) build --locked --release -p fairground-ffi -p fairground-benches

test-core:
	@echo 'The core: unit tests, and property tests of buddy, bins and size classes against models (3 minutes)'
	$(call run_tests,fairground-allocator)

test-runtime:
	@echo 'Green threads: scheduler in virtual time and on cores, preemption, locks, channels, sockets, a short soak (3 minutes)'
	$(call run_tests,fairground-runtime)
	$(CARGO) test --locked -p fairground-runtime --test sleeping_calls -- --ignored

test-portable:
	@echo 'Core and runtime once more, with the parts for processors without assembly of ours (3 minutes)'
	FAIRGROUND_TEST_FORKS=200 $(PORTABLE) $(CARGO) test --locked --no-fail-fast -p fairground-allocator --tests
	FAIRGROUND_SOAK_SECONDS=2 $(PORTABLE) $(CARGO) test --locked --no-fail-fast -p fairground-runtime --lib --tests

# On kernels whose pages are that large already it runs the same tests again.
test-page-sizes:
	@echo 'The core once more, with pages of 16 KiB and of 64 KiB (3 minutes)'
	for size in 16k 64k; do \
		FAIRGROUND_TEST_FORKS=200 CARGO_TARGET_DIR='$(TARGET)/page-sizes' RUSTFLAGS="$(RUSTFLAGS) --cfg fairground_page_$$size" \
			$(CARGO) test --locked --no-fail-fast -p fairground-allocator --tests || exit 1; done

.PHONY: model
model:
	@echo 'The lock-free protocols: every interleaving of two or three threads, by loom (5 minutes)'
	$(LOOM) $(CARGO) test --locked --release -p fairground-allocator --lib models
	$(LOOM) $(CARGO) test --locked --release -p fairground-runtime --lib models

test-ffi:
	@echo 'The C library: semantics against glibc, C++ operators, exports, header, installation; the launcher (3 minutes)'
	$(call run_tests,fairground-ffi)

test-programs:
	@echo 'Real programs on the library: redis, python, g++, git, sqlite, node, bash, java, PostgreSQL (8 minutes)'
	$(call run_tests,fairground-tests)

STEPS += test-overcommit
.PHONY: test-overcommit
test-overcommit:
	@echo 'vm.overcommit_memory=2, for some seconds and restored; nothing else runs beside it (1 minute)'
	$(CARGO) test --locked -p fairground-tests --test overcommit -- --ignored

test-examples:
	@echo 'The examples build, run, and print what they should (1 minute)'
	$(CARGO) build --locked -p fairground-examples --examples
	$(call run_tests,fairground-examples)

test-gates:
	@echo 'Instruction counts of the hot calls within their budgets, by callgrind (2 minutes)'
	$(call run_tests,fairground-benches)

test-docs:
	@echo 'Examples in the documentation run, and it builds without a warning (2 minutes)'
	$(CARGO) test --locked --workspace --doc
	RUSTDOCFLAGS='$(RUSTDOCFLAGS) -D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items

# ---------------------------------------------------------------- stress, fuzzing, sanitizers

STRESS := $(CARGO) test --locked --release -p fairground-allocator --test shadow_stress

test-stress:
	@echo 'Stress with a shadow map, 2 and 16 threads, 10 s each; made-up faults are noticed (2 minutes)'
	FAIRGROUND_STRESS_SECONDS=10 $(STRESS)

# Half of it in each number of threads. A failure prints the seed, which --seed takes.
STRESS_SECONDS ?= 300
stress-long:
	@echo 'Stress with a shadow map, $(STRESS_SECONDS) s, in 2 and in 16 threads (6 minutes)'
	$(STRESS) -- --threads 2 --seconds $$(($(STRESS_SECONDS) / 2))
	$(STRESS) -- --threads 16 --seconds $$(($(STRESS_SECONDS) / 2))

FUZZ_SECONDS ?= 60
fuzz:
	@echo 'Fuzzing of calls and of the configuration, $(FUZZ_SECONDS) s each (4 minutes; nightly toolchain and cargo-fuzz)'
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	fuzz/run.sh $(FUZZ_SECONDS)

test-asan:
	@echo 'The core under AddressSanitizer (5 minutes; nightly toolchain)'
	tests/sanitizers.sh address

test-tsan:
	@echo 'The core under ThreadSanitizer, with and without our assembly (15 minutes; nightly toolchain)'
	tests/sanitizers.sh thread

# --------------------------------------------------------------------------------------
STEPS += test-hardened
.PHONY: test-hardened
test-hardened:
	@echo 'Correct programs on the hardened allocator: tests of the core, python, g++, git, node, redis (2 minutes)'
	FAIRGROUND_CONF=hardened:true $(CARGO) test --locked -p fairground-allocator --test threads --test alignment_and_contents \
		--test global_allocator_churn
	FAIRGROUND_CONF=hardened:true $(CARGO) test --locked -p fairground-tests --test python --test gxx --test git --test node \
		--test redis

check-tests-can-fail: build
	@echo 'The tests of real programs notice allocators that are wrong on purpose (20 minutes)'
	tests/check-that-tests-can-fail.sh

test-aarch64:
	@echo 'The core and the library built for aarch64, in an emulator (5 minutes; installs cross compilers, 400 MB)'
	tests/aarch64.sh

# Each run draws new random cases.
RANDOM_RUNS ?= 20
test-random:
	@echo 'The property tests $(RANDOM_RUNS) times over, each time with other cases (5 minutes)'
	for run in $$(seq $(RANDOM_RUNS)); do \
		$(CARGO) test -q --locked --release -p fairground-allocator --lib -- buddy arena || exit 1; done

# Models that fix their bound themselves do not look at the variable.
model-long:
	@echo 'The models with up to LOOM_MAX_PREEMPTIONS=4 preemptions (10 minutes; 5 take hours)'
	LOOM_MAX_PREEMPTIONS=4 $(LOOM) $(CARGO) test --locked --release -p fairground-allocator --lib models

# -------------------------------------------------------------------------------------------------------------- soak

STEPS += test-soak
LONG_STEPS += soak-long
.PHONY: test-soak soak-long
SOAK := $(CARGO) test --locked --release -p fairground-allocator --test soak

test-soak:
	@echo 'Soak, 20 s: phases of other sizes and threads again and again; memory must not grow (1 minute)'
	FAIRGROUND_SOAK_SECONDS=20 $(SOAK)

SOAK_SECONDS ?= 600
soak-long:
	@echo 'Soaks of allocator and runtime, $(SOAK_SECONDS) s each (22 minutes)'
	FAIRGROUND_SOAK_SECONDS=$(SOAK_SECONDS) $(SOAK)
	FAIRGROUND_SOAK_SECONDS=$(SOAK_SECONDS) $(CARGO) test --locked --release -p fairground-runtime --test soak -- --nocapture

# --------------------------------------------------------------------------------------------------- everything else

.PHONY: demo
demo:
	@echo 'Programs that the demo runs, from the distribution (nothing if all are there, else up to 3 minutes)'
	@tests/install-programs.sh demo || echo 'Going on without: the demo names what it leaves out.'
	@echo 'Building the library and the launcher (a minute or two the first time)'
	$(FAIRGROUND_BUILD)
	@echo 'Real programs on the allocator they come with and on Fairground (two minutes at most)'
	'$(TARGET)/release/fairground' demo $(DEMO_FLAGS)
	@echo
	@echo 'Green threads (builds for a minute the first time): tenants that share a core by weight; a tick beside hogs; a server of tasks and its clients'
	$(CARGO) run --locked --quiet --release -p fairground-examples --example tenants
	$(CARGO) run --locked --quiet --release -p fairground-examples --example hogs
	$(CARGO) run --locked --quiet --release -p fairground-examples --example tcp_echo

.PHONY: bench
bench:
	@echo 'Micro benches of four allocators in one process (building 3 minutes, running about ten)'
	$(CARGO) bench --locked -p fairground-benches --bench micro -- $(BENCH_FLAGS)

.PHONY: compare
compare:
	@echo 'Peers from the distribution (nothing if all are there, else a minute)'
	@tests/install-programs.sh compare || echo 'Going on without: the report names the peers that are missing.'
	$(CARGO) build --locked --release -p fairground-ffi -p fairground-benches
	@echo 'Peers from the sources that their crates carry (seconds if all are built, else about ten minutes)'
	@benches/peers/build.sh || echo 'Going on without: the report names the peers that are missing.'
	@echo 'Every workload under every allocator, five times (more than an hour; with COMPARE_FLAGS=--quick about ten minutes)'
	@mkdir -p out
	'$(TARGET)/release/fairground-compare' --html out/report.html --json out/compare.json --markdown out/compare.md \
		--picture out/summary.svg $(COMPARE_FLAGS)
	@echo 'Pictures and tables are in out/report.html, the tables as Markdown in out/compare.md, the raw data in out/compare.json'

.PHONY: bench-runtime
bench-runtime:
	@echo 'Every row of work under every runtime, five times: about 20 minutes (5 with BENCH_RUNTIME_FLAGS=--quick), the first time 5 more'
	@tests/install-programs.sh runtimes || echo 'Going on without: the report names the runtimes that are missing.'
	$(CARGO) build --locked --release -p fairground-benches --bin fairground-bench-runtime
	@echo 'The runtimes, from their crates, and Go from PyPI (seconds if all are built, else about three minutes)'
	@benches/runtimes/build.sh
	@mkdir -p out
	'$(TARGET)/release/fairground-bench-runtime' --html out/runtimes.html --json out/runtimes.json \
		--markdown out/runtimes.md --picture out/runtimes.svg $(BENCH_RUNTIME_FLAGS)
	@echo 'The report is out/runtimes.html, its table as Markdown out/runtimes.md, the raw data out/runtimes.json'

.PHONY: format
format:
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path benches/peers/Cargo.toml
	$(CARGO) fmt --manifest-path benches/runtimes/Cargo.toml

.PHONY: clean
clean:
	$(CARGO) clean
	rm -rf out

# ------------------------------------------------------------------------------------------------- memory given back

.PHONY: test-memory
test-memory:
	@echo 'Memory given back: 1 GiB in blocks of every engine, with and without some that stay (3 minutes)'
	$(CARGO) test --locked --release -p fairground-allocator --test memory_given_back

STEPS += test-memory
