# lego, with its own servers for http-01 and tls-alpn-01 and its provider `exec` for dns-01.
client=lego
. /interop/lib.sh
version "$(lego --version | awk '{ print $3 }')"

order() { # NAME ARGUMENT…
  LEGO_CA_CERTIFICATES=ca-bundle.pem timeout 90 lego --path lego --accept-tos --email "hostmaster@$NAME" \
    --eab --kid "$KID" --hmac "$(cat eab.key)" --domains "$@"
}
at() { # DIRECTORY
  export LEGO_SERVER=$1
}

enrol() { documented lego-enrol; good "lego/certificates/$NAME.crt" "$NAME"; }
renew() { renews_as_documented "lego/certificates/$NAME.crt"; }
revoke() { revokes_as_documented "lego/certificates/$NAME.crt"; }
profile() { in_folder short; at "$default_directory"; order "$NAME" --http run --profile short; short "lego/certificates/$NAME.crt"; }
ari() {
  in_folder ari
  at "$DIRECTORY"
  order "$NAME" --http run
  renews_by_window "lego/certificates/$NAME.crt" 0 order "$NAME" --http renew --days 1 --no-random-sleep
}
http_01() { at "$DIRECTORY"; order lego-http.dmz.demo.test --http run; good lego/certificates/lego-http.dmz.demo.test.crt lego-http.dmz.demo.test; }
tls_alpn_01() { at "$DIRECTORY"; order lego-tls.dmz.demo.test --tls run; good lego/certificates/lego-tls.dmz.demo.test.crt lego-tls.dmz.demo.test; }
dns_01() {
  at "$DIRECTORY"
  printf '#!/bin/sh\ncase $1 in present) /interop/txt.sh set "$2" "$3" ;; cleanup) /interop/txt.sh clear "$2" ;; esac\n' >hook.sh
  chmod +x hook.sh
  EXEC_PATH=./hook.sh order '*.dmz.demo.test' --dns exec --dns.propagation-disable-ans run
  good lego/certificates/_.dmz.demo.test.crt '*.dmz.demo.test'
}
address() { at "$DIRECTORY"; order 127.0.0.1 --tls run; good lego/certificates/127.0.0.1.crt 127.0.0.1; }
issued() { echo ".lego/certificates/$1.crt"; }

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
cannot "key change" "lego has no command for it"
cannot deactivate "lego has no command for it"
try printed printed_name
try "printed keys" printed_keys p256 p384 rsa2048 rsa3072 rsa4096
try "printed IP" printed_addresses
