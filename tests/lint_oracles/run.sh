#!/usr/bin/env bash
# Issues every profile in every key type and lets every oracle judge it; writes docs/oracles.md. Needs root for the userland.
set -euo pipefail
cd "$(dirname "$0")/../.."
export LINT_ORACLES_USERLAND="$PWD/target/oracles/userland"
mkdir -p target/oracles
command -v java >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends default-jdk-headless >/dev/null; }
tests/tools/userland.sh "$LINT_ORACLES_USERLAND" ca-certificates gnutls-bin golang-go golang-golang-x-crypto-dev openssl zlint
exec "${CARGO:-cargo}" test --locked -p ca-testkit --features all-oracles --test lint_oracles -- --nocapture
