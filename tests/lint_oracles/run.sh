#!/usr/bin/env bash
# Issues every profile in every key type and lets every oracle judge it; writes docs/oracles.md. Needs root for the userland.
set -euo pipefail
cd "$(dirname "$0")/../.."
export LINT_ORACLES_USERLAND="$PWD/target/oracles/userland"
mkdir -p target/oracles
command -v java >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends default-jdk-headless >/dev/null; }
tests/lint_oracles/userland.sh "$LINT_ORACLES_USERLAND"
exec "${CARGO:-cargo}" test --locked -p ca-testkit --features all-oracles --test lint_oracles -- --nocapture
