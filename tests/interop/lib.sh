# What each client's script begins with: `. /interop/lib.sh`, after it set `client`. Runs within the userland.
# shellcheck shell=bash
: "${client:?the script says which client it drives}"
work=/w/$client
results=/w/results/$client
rm -rf "$work" "$results"
mkdir -p "$work"
cd "$work" || exit 1

export CA_CONFIG=/w/var/ca.toml
base=https://localhost:14000
default_directory=$base/acme/directory
# The names that the client's grant covers; others below dmz.demo.test are challenged.
host=$(tr -dc 'a-z' <<<"$client").demo.test
export NAME=$host DIRECTORY=$base/a/demo/acme/p/client/directory

# The grant, and the two files that every documented command reads.
/w/bin/ca grant create --service "$client" --name "$host" --profile client --profile server --profile short --max-accounts unlimited --json >grant.json
KID=$(jq -r .kid grant.json)
export KID
files() { jq -jr .hmac_key "$work/grant.json" >"$1/eab.key"; jq -r .ca_bundle "$work/grant.json" >"$1/ca-bundle.pem"; }
files .

# A folder of its own for one purpose, with the two files.
in_folder() { mkdir -p "$1" && files "$1" && cd "$1"; }

# block "LANGUAGE NAME": the block of docs/clients.md that has this name.
block() {
  local found
  found=$(awk -v open="\`\`\`$1" '$0 == open { on = 1; next } /^```/ { on = 0 } on' /docs/clients.md)
  [ -n "$found" ] || fail "docs/clients.md has no block \`\`\`$1"
  printf '%s\n' "$found"
}

# documented NAME: runs that block, as it stands there.
documented() {
  local commands
  commands=$(block "sh $1")
  timeout 90 bash -euc "$commands"
}

# printed CLIENT: what `ca grant create` printed for the grant that grant.json tells.
printed() { jq -r ".commands[\"$1\"]" grant.json; }

# as_printed: runs what is printed for the client, as it is. A script may say what else that takes.
printed_client=$client
as_printed() { timeout 90 bash -euc "$(printed "$printed_client")"; }

# granted FOLDER OPTION…: a grant of its own, told in grant.json of that folder, with the two files; the folder is the user's home.
granted() {
  mkdir -p "$work/$1" && cd "$work/$1"
  /w/bin/ca grant create --service "$client" "${@:2}" --profile "${printed_profile:-client}" --json >grant.json
  jq -jr .hmac_key grant.json >eab.key
  jq -r .ca_bundle grant.json >ca-bundle.pem
  chmod 600 eab.key
  export HOME=$PWD
}

# of_kind CERTIFICATE KIND: for a key of this kind.
of_kind() {
  local shown
  shown=$(openssl x509 -noout -text -in "$1" | grep -A 12 'Public Key Algorithm')
  case $2 in
  rsa*) grep -q "Public-Key: (${2#rsa} bit)" <<<"$shown" && grep -q rsaEncryption <<<"$shown" ;;
  p256) grep -q 'NIST CURVE: P-256' <<<"$shown" ;;
  p384) grep -q 'NIST CURVE: P-384' <<<"$shown" ;;
  ed25519) grep -q ED25519 <<<"$shown" ;;
  ml-dsa-*) grep -q "Public Key Algorithm: ${2^^}" <<<"$shown" ;;
  *) false ;;
  esac || fail "not a key of the kind $2: $shown"
}

# spelt NAME: as openssl does.
spelt() { if [ "$1" = ::1 ]; then echo 0:0:0:0:0:0:0:1; else echo "$1"; fi; }

# for_all CERTIFICATE NAME…: good, and for these names alone.
for_all() {
  local told wanted name
  good "$1" "$(spelt "$2")"
  told=$(openssl x509 -noout -ext subjectAltName -in "$1" | tail -n 1 | tr -d ' ' | tr , '\n' | cut -d: -f2- | sort)
  wanted=$(for name in "${@:2}"; do spelt "$name"; done | sort)
  [ "$told" = "$wanted" ] || fail "the certificate is for $told"
}

# What tries of the printed commands share: the script has `issued NAME`, which tells where the certificate is whose first name is NAME.
printed_name() { granted printed --name "$host"; as_printed; for_all "$(issued "$host")" "$host"; }
# printed_keys KIND…: for grants of each kind of key alone. The client makes these kinds; for others nothing is printed that could run.
printed_keys() {
  local kind
  for kind in p256 p384 ed25519 rsa2048 rsa3072 rsa4096 ml-dsa-65 ml-dsa-87; do
    granted "key-$kind" --name "$host" --key-types "$kind"
    if [[ " $* " == *" $kind "* ]]; then
      as_printed
      for_all "$(issued "$host")" "$host"
      of_kind "$(issued "$host")" "$kind"
    else
      [[ $(printed "$printed_client") == "# $printed_client makes no keys of the kinds"* ]] || fail "$printed_client is to make a key of the kind $kind"
    fi
  done
}
# Addresses, alone and beside a name.
printed_addresses() {
  granted addresses --name 127.0.0.1 --name ::1
  as_printed
  for_all "$(issued 127.0.0.1)" 127.0.0.1 ::1
  granted both --name 127.0.0.1 --name "$host"
  as_printed
  for_all "$(issued "$host")" "$host" 127.0.0.1
}

# record FEATURE VERDICT
record() {
  printf '%s\t%s\n' "$1" "$2" >>"$results"
  printf '  %-12s %s\n' "$1" "$2"
}

# try FEATURE COMMAND…: the verdict is how COMMAND ends; it runs with `set -e`, in the folder that it is called in. What the
# script has to say to a yes is in `said`.
try() {
  local feature=$1 log=$work/${1// /-}.log status
  shift
  # Not as a condition: that would switch `set -e` off within.
  set +e
  (set -euo pipefail; "$@") >"$log" 2>&1 </dev/null
  status=$?
  set -e
  if [ $status = 0 ]; then record "$feature" "yes${said:+: $said}"; else record "$feature" "no: $(tail -n 1 "$log" | tr '\t|' '  ' | cut -c 1-200)"; fi
}

# cannot FEATURE REASON: the client has no such thing.
cannot() { record "$1" "n/a: $2"; }
cannot_printed() { local feature; for feature in printed "printed keys" "printed IP"; do cannot "$feature" "$1"; done; }

version() { record version "$1"; }

fail() { echo "$*"; return 1; }

# by_operator CERTIFICATE: marked for replacement, so that its window for renewal lies in the past (RFC 9773 §4.2).
by_operator() { /w/bin/ca cert replace "$(serial "$1")" && window_over "$1" && status_is "$1" good; }

# wait_until SECONDS COMMAND…
wait_until() { local i; for ((i = 0; i < $1 * 5; i++)); do if "${@:2}" >/dev/null 2>&1; then return 0; fi; sleep 0.2; done; fail "waited $1 seconds for: ${*:2}"; }

serial() { openssl x509 -noout -serial -in "$1" | cut -d= -f2; }

ocsp() { openssl ocsp -issuer /w/var/issuer.pem -CAfile /w/var/root.pem -url http://127.0.0.1:14002/a/demo/ocsp -cert "$1" 2>&1; }
status_is() { local told; told=$(ocsp "$1"); grep -q "Response verify OK" <<<"$told" && grep -q ": $2\$" <<<"$told"; }

# good CERTIFICATE NAME: verified as a strict relying party would, with the name in it, and good by OCSP.
good() {
  openssl verify -x509_strict -purpose "${purpose:-sslclient}" -CAfile /w/var/root.pem -untrusted /w/var/issuer.pem "$1"
  openssl x509 -noout -ext subjectAltName -in "$1" | grep -qE "(DNS|IP Address):$(sed 's/[.*]/\\&/g' <<<"$2")(,|\$)" || fail "the certificate is not for $2"
  status_is "$1" good || fail "OCSP does not say good"
}

# renewed CERTIFICATE SERIAL: another one than before, and good.
renewed() {
  [ "$(serial "$1")" != "$2" ] || fail "the certificate is the same"
  good "$1" "${3:-$host}"
}

# short CERTIFICATE: of the profile `short`, which lives a minute beside the allowance for clocks.
short() { [ "$(($(date -d "$(openssl x509 -noout -enddate -in "$1" | cut -d= -f2)" +%s) - $(date -d "$(openssl x509 -noout -startdate -in "$1" | cut -d= -f2)" +%s)))" -le 180 ] || fail "not of the profile short"; }

b64url() { basenc --base64url -w0 | tr -d '='; }
# renewal_info CERTIFICATE: what the CA suggests (RFC 9773).
renewal_info() {
  local aki digits
  aki=$(openssl x509 -noout -ext authorityKeyIdentifier -in "$1" | tail -n 1 | tr -d ' :\n' | sed s/keyid//I | tr a-f A-F | basenc --base16 -d | b64url)
  digits=$(serial "$1")
  # The INTEGER's content octets: one more where the first bit is set.
  case $digits in [89A-F]*) digits=00$digits ;; esac
  curl -sf --cacert /w/var/root.pem "$base/acme/renewal-info/$aki.$(basenc --base16 -d <<<"$digits" | b64url)"
}
window_open() { [ "$(date -d "$(renewal_info "$1" | jq -r .suggestedWindow.start)" +%s)" -lt "$(date +%s)" ]; }
# A client may choose any moment within the window.
window_over() { [ "$(date -d "$(renewal_info "$1" | jq -r .suggestedWindow.end)" +%s)" -lt "$(date +%s)" ]; }

# served COMMAND…: while a web server shows $work/web on port 80.
mkdir -p "$work/web/.well-known/acme-challenge"
served() {
  local status=0
  python3 -m http.server --bind 127.0.0.1 --directory "$work/web" 80 &
  web_server=$!
  wait_until 20 curl -sf -o /dev/null http://127.0.0.1/
  "$@" || status=$?
  end "$web_server"
  return "$status"
}

# end PROCESS: ends a process that this script started, and its children.
end() { pkill -TERM -P "$1" || true; kill -TERM "$1" || true; wait "$1" 2>/dev/null || true; }

# The requests to a route that the CA has logged so far.
requests() { grep -c "route=\"\?$1" /w/server.log || true; }

# asked_ari COUNT: renewalInfo was asked since there were COUNT requests for it.
asked_ari() { [ "$(requests /acme/renewal-info)" -gt "$1" ] || fail "renewalInfo was not asked"; }

# renews_as_documented CERTIFICATE
renews_as_documented() { cp "$1" before.pem; documented "$client-renew"; renewed "$1" "$(serial before.pem)"; }

# revokes_as_documented CERTIFICATE
revokes_as_documented() { cp "$1" revoked.pem; documented "$client-revoke"; wait_until 20 status_is revoked.pem revoked; }

# renews_by_window CERTIFICATE STATUS COMMAND…: COMMAND asks for the window and leaves the certificate alone before it, which
# it tells with STATUS, and renews it within.
renews_by_window() {
  local asked
  cp "$1" before.pem
  "${@:3}" || [ $? = "$2" ]
  [ "$(serial "$1")" = "$(serial before.pem)" ] || fail "renewed before the window"
  by_operator before.pem
  asked=$(requests /acme/renewal-info)
  "${@:3}"
  asked_ari "$asked"
  renewed "$1" "$(serial before.pem)"
}

# replaced CERTIFICATE: the order that renewed it said so.
replaced() { [ "$(/w/bin/ca cert show "$(serial "$1")" --json | jq -r .replaced_by)" != null ] || fail "the order did not say which certificate it replaces"; }
