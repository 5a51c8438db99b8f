# What each terminator's script sources, after it set `client` and defined `start_with ocsp` and `start_with crl`, which start the
# program on 127.0.0.1:8443 in the foreground: it demands a client certificate of the CA and answers 200. Two clients come; one is
# revoked, and the other must still be let in.
# shellcheck shell=bash
. /interop/lib.sh
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost -keyout tls.key -out tls.pem 2>/dev/null
cat tls.pem tls.key >tls-both.pem
cat /w/var/issuer.pem /w/var/root.pem >client-ca.pem
# They drop their privileges.
chmod 755 "$work" && chmod 644 tls.key tls-both.pem

enrol() { # NAME
  LEGO_CA_CERTIFICATES=ca-bundle.pem lego --path "$1" --server "$DIRECTORY" --accept-tos --email "$1@$NAME" --eab --kid "$KID" \
    --hmac "$(cat eab.key)" --http --domains "$NAME" run
}
enrol kept >enrol.log 2>&1
enrol stolen >>enrol.log 2>&1

# visit [NAME]: the HTTP status; 000 where the handshake failed.
visit() {
  local identity=()
  [ $# = 0 ] || identity=(--cert "$work/$1/certificates/$NAME.crt" --key "$work/$1/certificates/$NAME.key")
  curl -sk -m 20 -o /dev/null -w '%{http_code}' "${identity[@]}" https://127.0.0.1:8443/ || true
}
welcome() { [ "$(visit "$1")" = 200 ]; }
refused() { [ "$(visit "$@")" != 200 ]; }
only_kept() { refused stolen && welcome kept; }

running=
begin() { # ocsp|crl
  /w/bin/ca crl show --pem >crls.pem
  chmod 644 crls.pem
  start_with "$1" >"$1.log" 2>&1 &
  running=$!
  wait_until 20 welcome kept
}
finish() {
  end "$running"
  wait_until 20 refused kept
}
lists() { curl -sf http://127.0.0.1:14002/a/demo/crl/0.crl | openssl crl -inform DER -noout -text | grep "$(serial "stolen/certificates/$NAME.crt")"; }
asks() { refused && welcome kept; }
good_ones() { welcome kept && welcome stolen; }
revoke_stolen() {
  /w/bin/ca cert revoke "$(serial "stolen/certificates/$NAME.crt")" --reason keyCompromise --yes
  wait_until 20 status_is "stolen/certificates/$NAME.crt" revoked
}
by_crl() { wait_until 30 lists; begin crl; only_kept; finish; }

# judge ocsp|none
judge() {
  local first=$1
  [ "$first" = ocsp ] || first=crl
  begin "$first" || true
  try "asks for it" asks
  try good good_ones
  revoke_stolen >revoke.log
  [ "$1" != ocsp ] || try OCSP wait_until 15 only_kept
  finish || true
  try CRL by_crl
}
