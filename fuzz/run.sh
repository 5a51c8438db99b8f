#!/usr/bin/env bash
# run.sh SECONDS [TARGET…]: runs each target, or those named, for so many seconds. What it finds is left in fuzz/artifacts/.
# The instrumentation is the compiler's own: neither a nightly toolchain nor cargo-fuzz is needed, and both work as well.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:?usage: run.sh SECONDS [TARGET…]}
shift
[ $# -gt 0 ] || set -- $(basename -s .rs targets/*.rs)
host=$(rustc -vV | sed -n 's/^host: //p')
# As cargo-fuzz sets them, without a sanitizer: no crate of ours has unsafe code.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
"${CARGO:-cargo}" build --release --target "$host" $(printf -- '--bin %s ' "$@")
for target in "$@"; do
  mkdir -p "artifacts/$target" "target/corpus/$target"
  # New inputs go to target/; the committed seeds are only read.
  "target/$host/release/$target" -max_total_time="$seconds" -max_len=8192 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="artifacts/$target/" "target/corpus/$target" "corpus/$target" 2>"target/$target.log" ||
    { tail -20 "target/$target.log" >&2; echo "$target: found something, see fuzz/artifacts/$target" >&2; exit 1; }
  echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "target/$target.log") inputs, nothing found"
done
