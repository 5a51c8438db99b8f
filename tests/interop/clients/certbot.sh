# certbot, with its own HTTP server. It has neither tls-alpn-01 nor a change of the account's key.
client=certbot
. /interop/lib.sh
version "$(certbot --version | cut -d' ' -f2)"

plain() { # ARGUMENT…
  REQUESTS_CA_BUNDLE=ca-bundle.pem timeout 90 certbot --config-dir certbot --work-dir certbot --logs-dir certbot "$@"
}
order() { # DIRECTORY ARGUMENT…
  plain certonly --non-interactive --agree-tos --register-unsafely-without-email --server "$1" \
    --eab-kid "$KID" --eab-hmac-key "$(cat eab.key)" "${@:2}"
}

enrol() { documented certbot-enrol; good "certbot/live/$NAME/cert.pem" "$NAME"; }
renew() { renews_as_documented "certbot/live/$NAME/cert.pem"; }
revoke() { revokes_as_documented "certbot/live/$NAME/cert.pem"; }
# Each service has its machine: certbot has one account there.
as_printed() { rm -rf /etc/letsencrypt; timeout 90 bash -euc "$(printed certbot)"; }
issued() { echo "/etc/letsencrypt/live/$1/cert.pem"; }
profile() { in_folder "${1:-short}"; order "$default_directory" --standalone --preferred-profile short -d "$NAME"; short "certbot/live/$NAME/cert.pem"; }
ari() {
  local before asked
  profile ari
  cp "certbot/live/$NAME/cert.pem" before.pem
  before=$(serial before.pem)
  # By its own rule, half of a short life, certbot would renew at once: the allowance for clocks makes the life look older.
  plain renew --no-random-sleep-on-renew
  [ "$(serial "certbot/live/$NAME/cert.pem")" = "$before" ] || fail "renewed before the window"
  wait_until 90 window_over before.pem
  asked=$(requests /acme/renewal-info)
  plain renew --no-random-sleep-on-renew
  asked_ari "$asked"
  renewed "certbot/live/$NAME/cert.pem" "$before"
  marked
}
# Of a month's life, and not asked about before: certbot keeps to Retry-After.
marked() {
  cd .. && in_folder marked
  order "$DIRECTORY" --standalone -d "$NAME"
  cp "certbot/live/$NAME/cert.pem" before.pem
  by_operator before.pem
  plain renew --no-random-sleep-on-renew
  renewed "certbot/live/$NAME/cert.pem" "$(serial before.pem)"
}
http_01() { order "$DIRECTORY" --standalone -d certbot-http.dmz.demo.test; good certbot/live/certbot-http.dmz.demo.test/cert.pem certbot-http.dmz.demo.test; }
dns_01() {
  order "$DIRECTORY" --manual --preferred-challenges dns -d '*.dmz.demo.test' \
    --manual-auth-hook '/interop/txt.sh set "_acme-challenge.$CERTBOT_DOMAIN" "$CERTBOT_VALIDATION"' \
    --manual-cleanup-hook '/interop/txt.sh clear "_acme-challenge.$CERTBOT_DOMAIN"'
  good certbot/live/dmz.demo.test/cert.pem '*.dmz.demo.test'
}
address() { order "$DIRECTORY" --standalone --ip-address 127.0.0.1; good certbot/live/127.0.0.1/cert.pem 127.0.0.1; }
deactivate() { plain unregister --non-interactive --server "$DIRECTORY"; }

try profile profile
try EAB enrol
try renew renew
try http-01 http_01
try dns-01 dns_01
cannot tls-alpn-01 "certbot has no such plugin of its own"
try IP address
try ARI ari
cannot replaces "certbot asks renewalInfo, but its orders do not say what they replace"
try revoke revoke
cannot "key change" "certbot has no command for it"
try deactivate deactivate
try printed printed_name
try "printed keys" printed_keys p256 p384 rsa2048 rsa3072 rsa4096
try "printed IP" printed_addresses
