#!/usr/bin/env bash
# Runs within the userland (enter.sh): starts a name server and a CA with a challenge zone, lets each client and each terminator
# do its part, and leaves what they found in /w/results. usage: site.sh [NAME…], to run only those.
set -euo pipefail
cd /w
export REQUESTED="$*"
# The name server answers every name with 127.0.0.1, and takes TXT records at its management port.
pebble-challtestsrv -defaultIPv6 "" -dnsserver 127.0.0.1:53 -http01 "" -https01 "" -tlsalpn01 "" -doh "" -management 127.0.0.1:8055 \
  >/w/names.log 2>&1 &

# wait_until SECONDS COMMAND…
wait_until() { local i; for ((i = 0; i < $1 * 5; i++)); do if "${@:2}" >/dev/null 2>&1; then return 0; fi; sleep 0.2; done; return 1; }
is_ready() { test -e /w/var/demo.env && curl -sf http://127.0.0.1:14002/readyz && curl -skf https://localhost:14000/acme/directory; }
server=
start() {
  /w/bin/ca demo --dir /w/var --log info >>/w/server.log 2>&1 &
  server=$!
  wait_until 60 is_ready || { tail -20 /w/server.log >&2; echo "the CA is not ready after a minute" >&2; exit 1; }
}
stop() {
  kill -TERM "$server"
  wait "$server"
}

start
export CA_CONFIG=/w/var/ca.toml
# The officers put a zone in force in which names are challenged.
zone='"dns:*.dmz.demo.test", "dns-wildcard:dmz.demo.test", "ip:127.0.0.1"'
/w/bin/ca policy show | sed -e 's/^version = .*/version = 2/' \
  -e '0,/"dns:\*\.demo\.test"/s//"dns:*.demo.test", "dns:*.dmz.demo.test", "dns-wildcard:dmz.demo.test"/' >/w/policy.toml
printf '\n[[authority.challenge]]\nnames = [%s]\nmethods = ["http-01", "dns-01", "tls-alpn-01"]\ncaa = ["ca.demo.test"]\n' "$zone" >>/w/policy.toml
proposal=$(/w/bin/ca policy propose /w/policy.toml --json | jq -r .id)
for officer in ana cora; do
  /w/bin/ca approve sign "$proposal" --key "/w/var/rehearsal/officers/$officer" --submit >/dev/null
done
stop
printf '\n[validation]\nresolvers = ["127.0.0.1:53"]\nnetworks = ["127.0.0.1"]\n' >>/w/var/ca.toml
start
echo "The CA is ready"

mkdir -p /w/results
failed=()
for script in /interop/clients/*.sh /interop/terminators/*.sh; do
  name=$(basename "$script" .sh)
  [ -z "$REQUESTED" ] || [[ " $REQUESTED " == *" $name "* ]] || continue
  echo "$name"
  # One script at a time: they share the ports. None may take longer than ten minutes, and what it started ends with it.
  timeout 600 unshare --pid --fork --kill-child --mount-proc bash "$script" || failed+=("$name")
done
[ ${#failed[@]} = 0 ] || { echo "did not end well: ${failed[*]}" >&2; exit 1; }
