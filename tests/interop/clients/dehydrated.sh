# dehydrated, with a web server of Python's for http-01, openssl for tls-alpn-01, and a hook for dns-01.
client=dehydrated
. /interop/lib.sh
version "$(dehydrated --version | awk '/^Dehydrated version/ { print $3 }')"

# setup DIRECTORY: a configuration and an account.
setup() {
  mkdir -p dehydrated/challenges
  printf 'CA="%s"\nEAB_KID="%s"\nEAB_HMAC_KEY="%s"\nCURL_OPTS="--cacert %s"\nBASEDIR="%s"\nWELLKNOWN="%s"\n' \
    "$1" "$KID" "$(cat eab.key)" "$PWD/ca-bundle.pem" "$PWD/dehydrated" "$work/web/.well-known/acme-challenge" >dehydrated/config
  plain --register --accept-terms
}
plain() { timeout 90 dehydrated --config dehydrated/config "$@"; }
cat >hook.sh <<'HOOK'
#!/bin/bash
# dehydrated gives: what happens; the domain; the token; what to show.
case $1-$2 in
deploy_challenge-*.dmz.demo.test | clean_challenge-*.dmz.demo.test | deploy_challenge-dmz.demo.test | clean_challenge-dmz.demo.test) ;;
*) exit 0 ;;
esac
case $1-$HOOKED in
deploy_challenge-dns) exec /interop/txt.sh set "_acme-challenge.$2" "$4" ;;
clean_challenge-dns) exec /interop/txt.sh clear "_acme-challenge.$2" ;;
deploy_challenge-tls)
  openssl s_server -quiet -accept 127.0.0.1:443 -alpn acme-tls/1 -cert "$ALPNCERTDIR/$2.crt.pem" -key "$ALPNCERTDIR/$2.key.pem" </dev/null >/dev/null 2>&1 &
  echo $! >s_server.pid
  for ((i = 0; i < 50; i++)); do (exec 3<>/dev/tcp/127.0.0.1/443) 2>/dev/null && exit 0; sleep 0.1; done
  exit 1
  ;;
clean_challenge-tls) kill "$(cat s_server.pid)" ;;
esac
HOOK
chmod +x hook.sh
hook=$PWD/hook.sh

enrol() { documented dehydrated-enrol; good "dehydrated/certs/$NAME/cert.pem" "$NAME"; }
renew() { renews_as_documented "dehydrated/certs/$NAME/cert.pem"; }
revoke() { revokes_as_documented "dehydrated/certs/$NAME/cert.pem"; }
profile() { in_folder short; setup "$default_directory"; plain --cron --domain "$NAME" --acme-profile short; short "dehydrated/certs/$NAME/cert.pem"; }
http_01() { in_folder more; setup "$DIRECTORY"; served plain --cron --domain deh-http.dmz.demo.test; good dehydrated/certs/deh-http.dmz.demo.test/cert.pem deh-http.dmz.demo.test; }
tls_alpn_01() {
  cd more
  HOOKED=tls plain --cron --domain deh-tls.dmz.demo.test --challenge tls-alpn-01 --hook "$hook"
  good dehydrated/certs/deh-tls.dmz.demo.test/cert.pem deh-tls.dmz.demo.test
}
dns_01() {
  cd more
  HOOKED=dns plain --cron --domain '*.dmz.demo.test' --alias wildcard --challenge dns-01 --hook "$hook"
  good dehydrated/certs/wildcard/cert.pem '*.dmz.demo.test'
}
address() { cd more; served plain --cron --domain ip:127.0.0.1; good dehydrated/certs/ip:127.0.0.1/cert.pem 127.0.0.1; }
deactivate() { cd more; plain --deactivate; }
issued() { compgen -G "dehydrated/certs/*$1/cert.pem"; }

# A timer runs it in another folder.
printed_and_renewed() {
  printed_name
  cp "$(issued "$host")" before.pem
  (cd / && timeout 90 dehydrated --config "$HOME/dehydrated/config" --cron --force --domain "$host")
  renewed "$(issued "$host")" "$(serial before.pem)"
}

try EAB enrol
try renew renew
cannot replaces "dehydrated does not know ARI"
cannot ARI "dehydrated does not know ARI"
try profile profile
try http-01 http_01
try tls-alpn-01 tls_alpn_01
try dns-01 dns_01
try IP address
try revoke revoke
cannot "key change" "dehydrated has no command for it"
try deactivate deactivate
try printed printed_and_renewed
try "printed keys" printed_keys p256 p384 rsa2048 rsa3072 rsa4096
try "printed IP" printed_addresses
