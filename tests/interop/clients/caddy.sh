# Caddy, which enrols and renews by itself while it serves: an outcome is waited for.
client=caddy
. /interop/lib.sh
# It is a server; the profile `short` is a client's all the same.
export DIRECTORY=$base/a/demo/acme/p/server/directory
purpose=any
version "$(caddy version | awk '{ print $1 }')"

# site DIRECTORY SITE MORE: a configuration with an issuer of its own, in which MORE stands.
site() {
  cat >Caddyfile <<CONFIG
{
	storage file_system caddy
	renew_interval 2s
	# By its own rule, the last third of the life, it would renew at about the same time.
	renewal_window_ratio 0.05
	admin unix//$PWD/admin.sock
}
https://$2 {
	tls {
		issuer acme {
			dir $1
			trusted_roots ca-bundle.pem
			eab $KID $(cat eab.key)
			$3
		}
	}
	respond "ok"
}
CONFIG
}
certificate() { compgen -G "caddy/certificates/*/$1/$1.crt"; }
changed() { [ "$(serial "$1")" != "$2" ]; }
# while_it_runs COMMAND…
while_it_runs() {
  local status=0
  caddy start --config Caddyfile
  "$@" || status=$?
  caddy stop --address "unix//$PWD/admin.sock"
  return "$status"
}

enrol() {
  documented caddy-enrol
  # In its own store, and as a client sees it.
  wait_until 60 certificate "$NAME"
  good "$(certificate "$NAME")" "$NAME"
  wait_until 20 openssl s_client -connect 127.0.0.1:443 -servername "$NAME" -verify_return_error -CAfile ca-bundle.pem </dev/null
  caddy stop
}
profile() { in_folder short; site "$default_directory" "$NAME" "profile short"; while_it_runs wait_until 60 certificate "$NAME"; short "$(certificate "$NAME")"; }
renew() {
  in_folder renew
  site "$default_directory" "$NAME" "profile short"
  while_it_runs renews_by_itself
  # The copy of before still has its minute, so what became of it can be asked.
  renewed "$(certificate "$NAME")" "$(serial before.pem)"
}
renews_by_itself() { wait_until 60 certificate "$NAME" && cp "$(certificate "$NAME")" before.pem && wait_until 90 changed "$(certificate "$NAME")" "$(serial before.pem)"; }
# What it says itself of that renewal.
ari() { grep "needs renewal based on ARI window" renew.log || fail "it did not renew by the window"; }
http_01() { in_folder http; site "$DIRECTORY" caddy-http.dmz.demo.test disable_tlsalpn_challenge; while_it_runs wait_until 60 certificate caddy-http.dmz.demo.test; good "$(certificate caddy-http.dmz.demo.test)" caddy-http.dmz.demo.test; }
tls_alpn_01() { in_folder tls; site "$DIRECTORY" caddy-tls.dmz.demo.test disable_http_challenge; while_it_runs wait_until 60 certificate caddy-tls.dmz.demo.test; good "$(certificate caddy-tls.dmz.demo.test)" caddy-tls.dmz.demo.test; }
address() { in_folder address; site "$DIRECTORY" 127.0.0.1 ""; while_it_runs wait_until 60 certificate 127.0.0.1; good "$(certificate 127.0.0.1)" 127.0.0.1; }
# It keeps its state below the user's home, and runs until it is stopped. Each site has a certificate of its own.
printed_profile=server
issued() { compgen -G ".local/share/caddy/certificates/*/${1//:/-}/${1//:/-}.crt"; }
as_printed() {
  local server name status=0
  (timeout 90 bash -euc "$(printed caddy)") &
  server=$!
  for name in $(jq -r '.grant.names[]' grant.json | sed 's/^[a-z]*://; s|/[0-9]*$||'); do
    wait_until 60 issued "$name" || status=$?
  done
  caddy stop || true
  wait "$server" || true
  return $status
}
printed_sites() {
  granted addresses --name 127.0.0.1 --name ::1
  as_printed
  for_all "$(issued 127.0.0.1)" 127.0.0.1
  for_all "$(issued ::1)" ::1
  granted both --name 127.0.0.1 --name "$host" --key-types p384
  as_printed
  for_all "$(issued 127.0.0.1)" 127.0.0.1
  of_kind "$(issued 127.0.0.1)" p384
  for_all "$(issued "$host")" "$host"
}

try EAB enrol
try profile profile
try renew renew
try ARI ari
cannot replaces "caddy asks renewalInfo, but its orders do not say what they replace"
try http-01 http_01
try tls-alpn-01 tls_alpn_01
cannot dns-01 "caddy needs a build with a module for the DNS provider"
try IP address
cannot revoke "caddy has no command for it: the operators revoke, and caddy replaces what OCSP calls revoked"
cannot "key change" "caddy has no command for it"
cannot deactivate "caddy has no command for it"
try printed printed_name
try "printed keys" printed_keys p256 p384 ed25519 rsa2048 rsa4096
try "printed IP" printed_sites
