#!/usr/bin/env bash
# A walk of about a minute through the whole chain; prints each step and what was seen, and fails if anything differs.
# usage: tests/tour.sh CA_BINARY
set -euo pipefail
ca=$(realpath "${1:?usage: tests/tour.sh CA_BINARY}")
PATH="$PATH:/usr/sbin:/sbin"
work=$(mktemp -d)
pids=()
finish() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"; }
trap finish EXIT

bold=''; plain=''
if [ -t 1 ]; then bold=$'\e[1m'; plain=$'\e[0m'; fi
n=0
step() { n=$((n + 1)); printf '\n%s%2d. %s%s\n' "$bold" "$n" "$*" "$plain"; }
saw() { printf '    saw: %s\n' "$*"; }
fail() { printf '    DIFFERENT: %s\n' "$*" >&2; tail -n 20 "$work/server.log" >&2 || true; exit 1; }
# wait_until SECONDS COMMAND…
wait_until() { local limit=$1 i; shift; for ((i = 0; i < limit * 10; i++)); do if "$@"; then return 0; fi; sleep 0.1; done; return 1; }
free_port() { local p; while p=$((20000 + RANDOM % 20000)); do (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p"; return; }; done; }

step "A key ceremony is rehearsed, and the CA starts (as 'make run' does)"
acme=$(free_port); status=$(free_port)
"$ca" demo --dir "$work/var" --acme-port "$acme" --status-port "$status" >"$work/server.log" 2>&1 & pids+=($!)
wait_until 60 curl -sf -o /dev/null "http://127.0.0.1:$status/readyz" || fail "the CA is not ready after 60 seconds"
wait_until 10 test -f "$work/var/demo.env" || fail "demo.env is missing"
set -a; . "$work/var/demo.env"; set +a
saw "ready; ACME directory $ACME_DIRECTORY"

step "A service enrols with certbot, unchanged; its grant covers $DEMO_NAME, so no challenge is needed"
REQUESTS_CA_BUNDLE=$CA_BUNDLE certbot certonly --standalone --non-interactive --agree-tos --register-unsafely-without-email \
  --server "$ACME_DIRECTORY" --eab-kid "$EAB_KID" --eab-hmac-key "$EAB_HMAC" --http-01-port "$(free_port)" -d "$DEMO_NAME" \
  --config-dir "$work/certbot/config" --work-dir "$work/certbot/work" --logs-dir "$work/certbot/logs" >"$work/certbot.log" 2>&1 ||
  { cat "$work/certbot.log" >&2; fail "certbot failed"; }
live=$work/certbot/config/live/$DEMO_NAME
openssl verify -x509_strict -purpose sslclient -CAfile "$CA_BUNDLE" -untrusted "$ISSUER_CERT" "$live/cert.pem" >/dev/null || fail "the chain does not verify"
serial=$(openssl x509 -noout -serial -in "$live/cert.pem" | cut -d= -f2)
saw "certificate $serial, verified by openssl"

ocsp() { openssl ocsp -issuer "$ISSUER_CERT" -CAfile "$CA_BUNDLE" -url "$OCSP_URL" -cert "$live/cert.pem" 2>/dev/null | sed -n '1s/.*: //p'; }
step "OCSP is asked about it"
[ "$(ocsp)" = good ] || fail "OCSP says $(ocsp)"
saw good

step "nginx demands a client certificate and asks OCSP about each one"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost -keyout "$work/tls.key" -out "$work/tls.pem" 2>/dev/null
cat "$ISSUER_CERT" "$CA_BUNDLE" >"$work/client-ca.pem"
web=$(free_port); web_crl=$(free_port)
server() { # NAME PORT REVOCATION
  mkdir -p "$work/$1"
  cat >"$work/$1/nginx.conf" <<CONF
daemon off; master_process off; pid $work/$1/pid; error_log $work/$1/error.log;
events {}
http { access_log off; server { listen 127.0.0.1:$2 ssl; ssl_certificate $work/tls.pem; ssl_certificate_key $work/tls.key;
  ssl_client_certificate $work/client-ca.pem; ssl_verify_client on; ssl_verify_depth 3;
  ssl_session_cache off; ssl_session_tickets off; keepalive_timeout 0; $3
  location / { return 200 "welcome"; } } }
CONF
  nginx -c "$work/$1/nginx.conf" -p "$work/$1" 2>/dev/null & pids+=($!)
}
visit() { curl -sk -o /dev/null -w '%{http_code}' --cert "$live/fullchain.pem" --key "$live/privkey.pem" "https://127.0.0.1:$1/" || true; }
visit_gives() { [ "$(visit "$1")" = "$2" ]; }
server asks-ocsp "$web" "ssl_ocsp leaf; ssl_ocsp_cache off;"
wait_until 15 visit_gives "$web" 200 || fail "nginx answered $(visit "$web") to a good certificate"
saw "200 welcome"
without=$(curl -sk -o /dev/null -w '%{http_code}' "https://127.0.0.1:$web/")
[ "$without" = 400 ] || fail "without a certificate nginx answered $without"
saw "400 without a certificate"

step "An operator revokes it: one signed statement, applied by the worker"
"$ca" --config "$CA_CONFIG" cert revoke "$serial" --reason keyCompromise --yes >/dev/null || fail "ca cert revoke failed"
ocsp_is() { [ "$(ocsp)" = "$1" ]; }
wait_until 10 ocsp_is revoked || fail "OCSP still says $(ocsp)"
saw "OCSP says revoked"
wait_until 10 visit_gives "$web" 400 || fail "nginx still lets it in: $(visit "$web")"
saw "nginx, asking OCSP, refuses it: 400"

step "A terminator that reads CRLs refuses it too"
lists() { curl -sf "$CRL_URL" | openssl crl -inform DER -noout -text | grep -qi "$serial"; }
wait_until 10 lists || fail "the CRL does not list $serial"
"$ca" --config "$CA_CONFIG" crl show --pem >"$work/crls.pem"
server reads-crl "$web_crl" "ssl_crl $work/crls.pem;"
wait_until 15 visit_gives "$web_crl" 400 || fail "nginx with the CRL answered $(visit "$web_crl")"
saw "the CRL lists it; nginx with the CRL refuses it: 400"

step "The agent enrols a service in the profile 'short' (60 seconds) and renews it by itself"
printf '%s' "$EAB_HMAC" >"$work/secret"; chmod 600 "$work/secret"
"$ca" agent run --directory "$ACME_DIRECTORY" --ca-bundle "$CA_BUNDLE" --eab-kid "$EAB_KID" --eab-hmac-file "$work/secret" \
  --name "$DEMO_NAME" --profile short --dir "$work/agent" >"$work/agent.log" 2>&1 & pids+=($!)
short=$work/agent/live/cert.pem
wait_until 20 test -e "$short" || { cat "$work/agent.log" >&2; fail "the agent has no certificate"; }
first=$(openssl x509 -noout -serial -in "$short")
saw "$first"
is_renewed() { [ "$(openssl x509 -noout -serial -in "$short")" != "$first" ]; }
wait_until 70 is_renewed || { cat "$work/agent.log" >&2; fail "no renewal within 70 seconds"; }
saw "renewed: $(openssl x509 -noout -serial -in "$short")"

step "Everything is on record"
"$ca" --config "$CA_CONFIG" status || fail "ca status failed"
printf '\nThe tour is complete: %s steps, nothing differed.\n' "$n"
