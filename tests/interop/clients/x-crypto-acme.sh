# golang.org/x/crypto/acme, Go's package, by a small program of this folder. cert-manager's client is a copy of it: the program
# does what cert-manager would with the manifests that are printed for it.
client=x-crypto-acme
. /interop/lib.sh
version "$(cat /w/bin/x_crypto_acme.version)"
plain() { timeout 90 /w/bin/x_crypto_acme "$@"; }

enrol() { plain order "$NAME"; good cert.pem "$NAME"; }
renew() { cp cert.pem before.pem; plain order "$NAME"; renewed cert.pem "$(serial before.pem)"; }
profile() { in_folder short; export DIRECTORY=$default_directory; plain order -profile short "$NAME"; short cert.pem; }
challenged() { # NAME TYPE
  in_folder "$2-$1"
  plain order -challenge "$2" "$1"
  good cert.pem "$1"
}
revoke() { plain revoke; wait_until 20 status_is cert.pem revoked; }
key_change() { in_folder keychange; plain order "$NAME"; plain change-key; plain order "$NAME"; good cert.pem "$NAME"; }
deactivate() { in_folder ended; plain order "$NAME"; plain deactivate; if plain order "$NAME"; then fail "the account still orders"; fi; }
issued() { echo cert.pem; }
as_printed() { printed cert-manager >manifest; plain manifest manifest; }
printed_client=cert-manager

try EAB enrol
try renew renew
cannot replaces "x/crypto/acme does not know ARI"
cannot ARI "x/crypto/acme does not know ARI"
try profile profile
try http-01 challenged go-http.dmz.demo.test http-01
try tls-alpn-01 challenged go-tls.dmz.demo.test tls-alpn-01
try dns-01 challenged '*.dmz.demo.test' dns-01
try IP challenged 127.0.0.1 tls-alpn-01
try revoke revoke
try "key change" key_change
try deactivate deactivate
said="by what is printed for cert-manager, which was not run itself"
try printed printed_name
try "printed keys" printed_keys p256 p384 ed25519 rsa2048 rsa3072 rsa4096
try "printed IP" printed_addresses
