# acme-client, the library for Node.js: by the program of docs/clients.md, and by one of this folder for the rest.
client=acme-client
. /interop/lib.sh
export NODE_EXTRA_CA_CERTS=$work/ca-bundle.pem
version "$(jq -r .version /w/node_modules/acme-client/package.json)"
ln -s /w/node_modules node_modules

documented_program() {
  block "js acme-client" >enrol.mjs
  timeout 90 node enrol.mjs
}
more() { timeout 90 node /w/acme-client.mjs "$@"; }
cp /interop/acme_client.mjs /w/acme-client.mjs

enrol() { documented_program; good cert.pem "$NAME"; }
renew() {
  cp cert.pem before.pem
  documented_program
  renewed cert.pem "$(serial before.pem)"
}
ordered() { # DIRECTORY NAME OPTION…
  export DIRECTORY=$1
  more order "${@:2}"
}
profile() { in_folder short; ordered "$default_directory" "$NAME" profile=short; short cert.pem; }
challenged() { # NAME TYPE
  in_folder "$2-$1"
  ordered "$DIRECTORY" "$1" "challenge=$2"
  good cert.pem "$1"
}
revoke() { more revoke; wait_until 20 status_is cert.pem revoked; }
key_change() { in_folder keychange; ordered "$DIRECTORY" "$NAME"; more change-key; more order "$NAME"; good cert.pem "$NAME"; }
deactivate() { in_folder ended; ordered "$DIRECTORY" "$NAME"; more deactivate; if more order "$NAME"; then fail "the account still orders"; fi; }

try EAB enrol
try renew renew
cannot replaces "acme-client does not know ARI"
cannot ARI "acme-client does not know ARI"
try profile profile
try http-01 challenged acmeclient-http.dmz.demo.test http-01
try tls-alpn-01 challenged acmeclient-tls.dmz.demo.test tls-alpn-01
try dns-01 challenged '*.dmz.demo.test' dns-01
try IP challenged 127.0.0.1 http-01
try revoke revoke
try "key change" key_change
try deactivate deactivate
cannot_printed "a library: its program stands in clients.md"
