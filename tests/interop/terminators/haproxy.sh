# HAProxy: CRLs only. Its crl-file has the CRLs of issuer and root.
client=haproxy
start_with() {
  cat >haproxy.cfg <<CONFIG
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend welcome
  bind 127.0.0.1:8443 ssl crt $work/tls-both.pem ca-file $work/client-ca.pem verify required crl-file $work/crls.pem
  http-request return status 200 content-type text/plain string welcome
CONFIG
  exec haproxy -db -f "$work/haproxy.cfg"
}
. /interop/terminator.sh
version "$(haproxy -v | awk 'NR == 1 { print $3 }')"
judge none
cannot OCSP "haproxy asks no responder about clients"
