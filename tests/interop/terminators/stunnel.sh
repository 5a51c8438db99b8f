# stunnel, before a web server of Python's.
client=stunnel
start_with() {
  local revocation="OCSPaia = yes"
  [ "$1" = ocsp ] || revocation="CRLfile = $work/crls.pem"
  cat >stunnel.conf <<CONFIG
foreground = yes
pid =
debug = info
[welcome]
accept = 127.0.0.1:8443
connect = 127.0.0.1:8080
cert = $work/tls-both.pem
CAfile = $work/client-ca.pem
verifyChain = yes
requireCert = yes
sessionResume = no
$revocation
CONFIG
  exec stunnel "$work/stunnel.conf"
}
. /interop/terminator.sh
version "$(stunnel -version 2>&1 | awk '/^stunnel/ { print $2 } / stunnel / { print $3 }' | head -n 1)"
python3 -m http.server --bind 127.0.0.1 --directory "$work/web" 8080 >web.log 2>&1 &
judge ocsp
