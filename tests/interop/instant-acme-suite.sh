#!/bin/sh
# Runs instant-acme's own tests, unedited, against this product: tests/pebble_front in place of Pebble.
#
#     tests/interop/instant-acme-suite.sh [TEST…]
#
# The suite comes from the registry (its .crate has the tests), the challenge server from Debian's package `pebble`; both
# go to a scratch folder, SCRATCH, or one that goes away. CHALLTESTSRV names a challenge server that is there already.
# The last line tells how many passed; the exit status is the suite's.
set -eu

VERSION=0.8.5
top=$(cd "$(dirname "$0")/../.." && pwd)
if [ -n "${SCRATCH:-}" ]; then
    mkdir -p "$SCRATCH"
    scratch=$(cd "$SCRATCH" && pwd)
else
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
fi

# The suite: cargo brings it as a dependency of a package of nothing else, and keeps the source.
source=${INSTANT_ACME:-}
if [ -z "$source" ]; then
    home=${CARGO_HOME:-$HOME/.cargo}
    source=$(find "$home/registry/src" -maxdepth 2 -name "instant-acme-$VERSION" -type d | head -n 1)
    if [ -z "$source" ]; then
        (cd "$top" && cargo fetch --locked)
        source=$(find "$home/registry/src" -maxdepth 2 -name "instant-acme-$VERSION" -type d | head -n 1)
    fi
fi
[ -f "$source/tests/pebble.rs" ] || { echo "instant-acme $VERSION with its tests is not at '$source' (hint: INSTANT_ACME names a checkout)" >&2; exit 1; }
rm -rf "$scratch/instant-acme"
cp -r "$source" "$scratch/instant-acme"
# Its own workspace: the scratch folder may lie below another.
grep -q '^\[workspace\]' "$scratch/instant-acme/Cargo.toml" || printf '\n[workspace]\n' >> "$scratch/instant-acme/Cargo.toml"

# The challenge server.
if [ -z "${CHALLTESTSRV:-}" ]; then
    if command -v pebble-challtestsrv >/dev/null; then
        CHALLTESTSRV=$(command -v pebble-challtestsrv)
    else
        [ -x "$scratch/debian/usr/bin/pebble-challtestsrv" ] || (
            mkdir -p "$scratch/debian" && cd "$scratch/debian" && apt-get -qq download pebble && dpkg -x pebble_*.deb .
        )
        CHALLTESTSRV=$scratch/debian/usr/bin/pebble-challtestsrv
    fi
fi

# Debian 12's is older than the suite: one argument has another name there, and DNS over HTTPS, which the suite turns off,
# is not there yet.
if ! "$CHALLTESTSRV" -help 2>&1 | grep -q -- -dnsserver; then
    cat > "$scratch/challtestsrv" <<WRAPPER
#!/bin/bash
arguments=()
while [ \$# -gt 0 ]; do
    case \$1 in
        -dnsserver) arguments+=(-dns01) ;;
        -doh) shift ;;
        *) arguments+=("\$1") ;;
    esac
    shift
done
exec "$CHALLTESTSRV" "\${arguments[@]}"
WRAPPER
    chmod +x "$scratch/challtestsrv"
    CHALLTESTSRV=$scratch/challtestsrv
fi

(cd "$top" && cargo build -q --locked -p ca-cli --features test-halt --bin ca --example pebble_front)
PEBBLE=${CARGO_TARGET_DIR:-$top/target}/debug/examples/pebble_front

# What a killed front leaves behind goes with the scratch folder.
TMPDIR=$scratch/tmp
mkdir -p "$TMPDIR"
export PEBBLE CHALLTESTSRV TMPDIR
cd "$scratch/instant-acme"
status=0
CARGO_TARGET_DIR=$scratch/target cargo test -q --features x509-parser,time --test pebble -- --ignored --test-threads "${THREADS:-2}" "$@" > "$scratch/report" 2>&1 || status=$?
cat "$scratch/report"
rm -rf "$TMPDIR"
exit "$status"
