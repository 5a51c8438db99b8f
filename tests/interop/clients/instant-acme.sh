# instant-acme, the library that the agent is built on, by a small program of this folder.
client=instant-acme
. /interop/lib.sh
version "$(cat /w/bin/instant_acme.version)"
plain() { timeout 90 env NAME_SERVER=/interop/txt.sh /w/bin/instant_acme_client "$@"; }

enrol() { plain order "$NAME"; good cert.pem "$NAME"; }
renew() {
  cp cert.pem before.pem
  plain order "$NAME" --replace
  renewed cert.pem "$(serial before.pem)"
}
ari() {
  by_operator before.pem
  cp cert.pem now.pem
  cp before.pem cert.pem
  [ "$(plain window)" -lt "$(date +%s)" ] || fail "the window of a marked certificate has not begun"
  cp now.pem cert.pem
  [ "$(plain window)" -gt "$(date +%s)" ] || fail "the window of a new certificate has begun"
}
profile() { in_folder short; export DIRECTORY=$default_directory; plain order "$NAME" --profile short; short cert.pem; }
challenged() { # NAME TYPE
  in_folder "$2-$1"
  plain order "$1" --challenge "$2"
  good cert.pem "$1"
}
revoke() { plain revoke; wait_until 20 status_is cert.pem revoked; }
key_change() { in_folder keychange; plain order "$NAME"; plain change-key; plain order "$NAME"; good cert.pem "$NAME"; }
deactivate() { in_folder ended; plain order "$NAME"; plain deactivate; if plain order "$NAME"; then fail "the account still orders"; fi; }

try EAB enrol
try renew renew
try replaces replaced before.pem
try ARI ari
try profile profile
try http-01 challenged instant-http.dmz.demo.test http-01
try tls-alpn-01 challenged instant-tls.dmz.demo.test tls-alpn-01
try dns-01 challenged '*.dmz.demo.test' dns-01
try IP challenged 127.0.0.1 tls-alpn-01
try revoke revoke
try "key change" key_change
try deactivate deactivate
cannot_printed "a library"
