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
as_printed() {
  local server status=0
  export XDG_DATA_HOME=$PWD/printed/data
  printed caddy &
  server=$!
  wait_until 60 compgen -G "$XDG_DATA_HOME/caddy/certificates/*/$NAME/$NAME.crt" || status=$?
  caddy stop || true
  wait "$server" || true
  [ $status = 0 ] || return 1
  good "$(compgen -G "$XDG_DATA_HOME/caddy/certificates/*/$NAME/$NAME.crt")" "$NAME"
}

try EAB enrol
try profile profile
try renew renew
cannot replaces "caddy asks renewalInfo, but its orders do not say what they replace"
try ARI ari
try http-01 http_01
try tls-alpn-01 tls_alpn_01
cannot dns-01 "caddy needs a build with a module for the DNS provider"
try IP address
cannot revoke "caddy has no command for it: the operators revoke, and caddy replaces what OCSP calls revoked"
cannot "key change" "caddy has no command for it"
cannot deactivate "caddy has no command for it"
try printed as_printed
