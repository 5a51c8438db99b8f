# nginx
client=nginx
start_with() {
  local revocation="ssl_ocsp leaf; ssl_ocsp_cache off;"
  [ "$1" = ocsp ] || revocation="ssl_crl $work/crls.pem;"
  cat >nginx.conf <<CONFIG
daemon off; pid $work/pid; error_log $work/error.log info;
events {}
http {
  access_log off;
  server {
    listen 127.0.0.1:8443 ssl; ssl_certificate $work/tls.pem; ssl_certificate_key $work/tls.key;
    ssl_client_certificate $work/client-ca.pem; ssl_verify_client on; ssl_verify_depth 3;
    ssl_session_cache off; ssl_session_tickets off;
    $revocation
    location / { return 200 welcome; }
  }
}
CONFIG
  exec nginx -c "$work/nginx.conf" -p "$work"
}
. /interop/terminator.sh
version "$(nginx -v 2>&1 | cut -d/ -f2)"
judge ocsp
