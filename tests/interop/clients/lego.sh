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
renew() {
  cp "lego/certificates/$NAME.crt" before.pem
  documented lego-renew
  renewed "lego/certificates/$NAME.crt" "$(serial before.pem)"
}
revoke() { documented lego-revoke; wait_until 20 status_is "lego/certificates/$NAME.crt" revoked; }
profile() { in_folder short; at "$default_directory"; order "$NAME" --http run --profile short; short "lego/certificates/$NAME.crt"; }
ari() {
  local asked
  in_folder ari
  at "$DIRECTORY"
  order "$NAME" --http run
  cp "lego/certificates/$NAME.crt" before.pem
  order "$NAME" --http renew --days 1 --no-random-sleep
  [ "$(serial "lego/certificates/$NAME.crt")" = "$(serial before.pem)" ] || fail "renewed before the window"
  by_operator before.pem
  asked=$(requests /acme/renewal-info)
  order "$NAME" --http renew --days 1 --no-random-sleep
  asked_ari "$asked"
  renewed "lego/certificates/$NAME.crt" "$(serial before.pem)"
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
address() { at "$DIRECTORY"; order 127.0.0.1 --disable-cn --tls run; good lego/certificates/127.0.0.1.crt 127.0.0.1; }
as_printed() { printed lego; good ".lego/certificates/$NAME.crt" "$NAME"; }

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
try printed as_printed
