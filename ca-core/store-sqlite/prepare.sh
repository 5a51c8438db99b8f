#!/bin/sh
# Refreshes the committed query data in .sqlx, against a database made from the migrations.
# Needs the sqlite3 command. With --check it changes nothing and fails where the data is stale.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for migration in migrations/*.sql; do
    sqlite3 -bail "$work/schema.db" < "$migration"
done
mkdir "$work/sqlx"
touch src/lib.rs
DATABASE_URL="sqlite:$work/schema.db" SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$work/sqlx" cargo check --quiet -p ca-store-sqlite
if [ "${1:-}" = --check ]; then
    diff -r .sqlx "$work/sqlx" || { echo "the query data is stale (hint: run ca-core/store-sqlite/prepare.sh)" >&2; exit 1; }
else
    rm -rf .sqlx
    cp -R "$work/sqlx" .sqlx
fi
touch src/lib.rs
