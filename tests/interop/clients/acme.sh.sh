# acme.sh, with socat for http-01, openssl for tls-alpn-01, and a hook of this folder for dns-01.
client=acme.sh
. /interop/lib.sh
version "$(acme.sh --version | tail -n 1 | tr -d v)"

plain() { # ARGUMENT…
  timeout 90 acme.sh --config-home "$PWD/acme.sh" --ca-bundle "$PWD/ca-bundle.pem" "$@"
}
register() { # DIRECTORY
  plain --register-account --server "$1" --eab-kid "$KID" --eab-hmac-key "$(cat eab.key)"
}
cert() { echo "acme.sh/${1}_ecc/$1.cer"; }

enrol() { documented acme.sh-enrol; good "$(cert "$NAME")" "$NAME"; }
renew() { renews_as_documented "$(cert "$NAME")"; }
revoke() { revokes_as_documented "$(cert "$NAME")"; }
profile() {
  in_folder short
  register "$default_directory"
  plain --issue --server "$default_directory" --webroot . -d "$NAME" --cert-profile short
  short "$(cert "$NAME")"
}
ari() {
  in_folder ari
  register "$DIRECTORY"
  plain --issue --server "$DIRECTORY" --webroot . -d "$NAME"
  # It says that it skipped with status 2.
  renews_by_window "$(cert "$NAME")" 2 plain --renew -d "$NAME" --ecc
}
http_01() { plain --issue --server "$DIRECTORY" --standalone -d acmesh-http.dmz.demo.test; good "$(cert acmesh-http.dmz.demo.test)" acmesh-http.dmz.demo.test; }
tls_alpn_01() { plain --issue --server "$DIRECTORY" --alpn -d acmesh-tls.dmz.demo.test; good "$(cert acmesh-tls.dmz.demo.test)" acmesh-tls.dmz.demo.test; }
dns_01() {
  printf 'dns_interop_add() { /interop/txt.sh set "$1" "$2"; }\ndns_interop_rm() { /interop/txt.sh clear "$1"; }\n' >/usr/share/acme.sh/dnsapi/dns_interop.sh
  # With a pause of its own choice it does not ask public resolvers first.
  plain --issue --server "$DIRECTORY" --dns dns_interop --dnssleep 1 -d '*.dmz.demo.test'
  good "$(cert '*.dmz.demo.test')" '*.dmz.demo.test'
}
address() { plain --issue --server "$DIRECTORY" --standalone -d 127.0.0.1; good "$(cert 127.0.0.1)" 127.0.0.1; }
key_change() {
  in_folder keychange
  register "$DIRECTORY"
  plain --update-account-key --server "$DIRECTORY"
  plain --issue --server "$DIRECTORY" --webroot . -d "$NAME"
  good "$(cert "$NAME")" "$NAME"
}
deactivate() { plain --deactivate-account --server "$DIRECTORY"; }
issued() { compgen -G ".acme.sh/$1*/$1.cer"; }

try EAB enrol
try renew renew
try replaces replaced before.pem
try profile profile
try ARI ari
try http-01 http_01
try tls-alpn-01 tls_alpn_01
try dns-01 dns_01
try IP address
try revoke revoke
try "key change" key_change
try deactivate deactivate
try printed printed_name
try "printed keys" printed_keys p256 p384 rsa2048 rsa3072 rsa4096
try "printed IP" printed_addresses
