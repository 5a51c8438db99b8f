# Countersign: what people type. `make help` lists it.
CARGO ?= cargo
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help run test tour bench soak ceremony-rehearsal lint-oracles interop fuzz lint fmt deps
help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

run: ## Bring up a working CA on loopback, in var/; the next run goes on with it
	$(CARGO) build --profile quick --locked -p ca-cli
	exec target/quick/ca demo

tour: deps ## A walk of a minute through the whole chain, told step by step
	$(CARGO) build --profile quick --locked -p ca-cli
	tests/tour.sh target/quick/ca

bench: deps ## Speed and size, each beside its peer on this machine
	$(CARGO) build --release --locked -p ca-cli -p acme-server -p ocsp-responder
	$(CARGO) bench --locked -p ca-cli --bench load
	$(CARGO) bench --locked -p ca-core --bench lint
	$(CARGO) bench --locked -p ca-keystore --features pkcs11 --bench pkcs11 --bench algorithms

soak: deps ## 100,000 orders on one instance: does its memory stay flat? (at most 20 minutes, about 1 GB of disk)
	$(CARGO) build --release --locked -p ca-cli
	$(CARGO) bench --locked -p ca-cli --bench load -- soak

ceremony-rehearsal: deps ## Whole 2-of-3 ceremonies as people hold them, on SoftHSM tokens and on simulated YubiHSMs; the bundles go to ceremony-docs/rehearsal*
	$(CARGO) build --locked -p ca-ceremony -p ca-yubihsm-simulator
	rm -rf ceremony-docs/rehearsal ceremony-docs/rehearsal-*
	ceremony-docs/rehearse.sh target/debug/ca-ceremony ceremony-docs/rehearsal
	ceremony-docs/rehearse.sh target/debug/ca-ceremony ceremony-docs/rehearsal-yubihsm target/debug/yubihsm-simulator

lint-oracles: deps ## Issue every profile in every key type and let other implementations judge it; writes docs/oracles.md (as root)
	tests/lint_oracles/run.sh

interop: deps ## Drive every stock client and terminator, each in its newest version, in a network of its own; writes docs/interop.md (as root)
	tests/interop/run.sh
	tests/interop/instant-acme-suite.sh

fuzz: ## Run each fuzz target for FUZZ_SECONDS (20)
	fuzz/run.sh $(or $(FUZZ_SECONDS),20)

deps: ## Install the real programs that the tests drive, where that is allowed
	@tests/tools/install.sh

fmt: ## Format the code
	$(CARGO) fmt --all

lint: ## Formatting and clippy, both without findings
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --locked --features ca-cli/test-halt,ca-testkit/all-oracles --lib --bins --tests --benches --examples -- -D warnings

test: deps lint ## Everything that must hold before a change lands
	@# One test holds a thousand connections, both ends of them; a login's usual limit is 1,024 open files.
	ulimit -n "$$(ulimit -Hn)"; $(CARGO) test --workspace --locked --features ca-cli/test-halt
