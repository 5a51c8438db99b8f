# Countersign: what people type. `make help` lists it.
CARGO ?= cargo
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help run test tour bench lint fmt deps
help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

run: ## Bring up a working CA on loopback, in var/; the next run goes on with it
	$(CARGO) build --release --locked -p ca-cli
	exec target/release/ca demo

tour: deps ## A walk of a minute through the whole chain, told step by step
	$(CARGO) build --release --locked -p ca-cli
	tests/tour.sh target/release/ca

bench: deps ## Speed and size, each beside its peer on this machine
	$(CARGO) build --release --locked -p ca-cli
	$(CARGO) bench --locked -p ca-cli --bench load

deps: ## Install the real programs that the tests drive, where that is allowed
	@tests/tools/install.sh

fmt: ## Format the code
	$(CARGO) fmt --all

lint: ## Formatting and clippy, both without findings
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --locked --features ca-cli/test-halt --lib --bins --tests -- -D warnings

test: deps lint ## Everything that must hold before a change lands
	$(CARGO) test --workspace --locked --features ca-cli/test-halt
