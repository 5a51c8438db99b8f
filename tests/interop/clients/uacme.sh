# uacme, with a web server of Python's for http-01, its own ualpn for tls-alpn-01, and a hook for dns-01.
client=uacme
. /interop/lib.sh
version "$(uacme --version 2>&1 | awk 'NR == 1 { print $3 }')"

plain() { # DIRECTORY ARGUMENT…
  timeout 90 uacme --confdir uacme --acme-url "$@"
}
register() { # DIRECTORY
  plain "$1" --yes --eab "$KID:$(cat eab.key)" new
}
export UACME_CHALLENGE_PATH=$PWD/web/.well-known/acme-challenge
cat >hook.sh <<'HOOK'
#!/bin/sh
# uacme gives: begin, done or failed; the type; the identifier; the token; what to show.
[ "$2" = dns-01 ] || exit 1
case $1 in
begin) exec /interop/txt.sh set "_acme-challenge.${3#\*.}" "$5" ;;
*) exec /interop/txt.sh clear "_acme-challenge.${3#\*.}" ;;
esac
HOOK
chmod +x hook.sh
hook=$PWD/hook.sh

enrol() { documented uacme-enrol; good "uacme/$NAME/cert.pem" "$NAME"; }
renew() { renews_as_documented "uacme/$NAME/cert.pem"; }
revoke() { revokes_as_documented "uacme/$NAME/cert.pem"; }
profile() { in_folder short; register "$default_directory"; plain "$default_directory" --profile short issue "$NAME"; short "uacme/$NAME/cert.pem"; }
ari() {
  in_folder ari
  register "$DIRECTORY"
  plain "$DIRECTORY" issue "$NAME"
  # It says that it is not due with status 1.
  renews_by_window "uacme/$NAME/cert.pem" 1 plain "$DIRECTORY" --no-ocsp issue "$NAME"
}
http_01() { served plain "$DIRECTORY" --hook /usr/share/uacme/uacme.sh issue uacme-http.dmz.demo.test; good uacme/uacme-http.dmz.demo.test/cert.pem uacme-http.dmz.demo.test; }
tls_alpn_01() {
  ualpn --daemon --bind 127.0.0.1@443 --connect 127.0.0.1@444 --pidfile "$work/ualpn.pid"
  trap 'ualpn --terminate --pidfile "$work/ualpn.pid"' EXIT
  plain "$DIRECTORY" --hook /usr/share/uacme/ualpn.sh issue uacme-tls.dmz.demo.test
  good uacme/uacme-tls.dmz.demo.test/cert.pem uacme-tls.dmz.demo.test
}
dns_01() { plain "$DIRECTORY" --hook "$hook" issue '*.dmz.demo.test'; good "uacme/dmz.demo.test/cert.pem" '*.dmz.demo.test'; }
address() { served plain "$DIRECTORY" --hook /usr/share/uacme/uacme.sh issue 127.0.0.1; good uacme/127.0.0.1/cert.pem 127.0.0.1; }
key_change() {
  in_folder keychange
  register "$DIRECTORY"
  plain "$DIRECTORY" --yes newkey
  plain "$DIRECTORY" issue "$NAME"
  good "uacme/$NAME/cert.pem" "$NAME"
}
deactivate() { plain "$DIRECTORY" --yes deactivate; }
issued() { echo "uacme/$1/cert.pem"; }

# What it trusts is the system's matter.
documented uacme-trust >trust.log
try EAB enrol
try renew renew
cannot replaces "uacme asks renewalInfo, but its orders do not say what they replace"
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
rm /usr/local/share/ca-certificates/countersign.crt
update-ca-certificates >>trust.log
