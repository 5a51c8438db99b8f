# Apache, which sends a nonce with its question.
client=apache
start_with() {
  local revocation="SSLOCSPEnable leaf" module
  [ "$1" = ocsp ] || revocation="SSLCARevocationCheck chain
SSLCARevocationFile $work/crls.pem"
  mkdir -p htdocs
  echo welcome >htdocs/index.html
  chmod -R a+rX htdocs
  {
    for module in mpm_event authz_core dir ssl; do echo "LoadModule ${module}_module /usr/lib/apache2/modules/mod_$module.so"; done
    cat <<CONFIG
ServerRoot $work
ServerName localhost
PidFile $work/pid
ErrorLog $work/error.log
LogLevel ssl:debug
User www-data
Group www-data
DocumentRoot $work/htdocs
DirectoryIndex index.html
Listen 127.0.0.1:8443
SSLEngine on
SSLCertificateFile $work/tls.pem
SSLCertificateKeyFile $work/tls.key
SSLCACertificateFile $work/client-ca.pem
SSLVerifyClient require
SSLVerifyDepth 3
SSLSessionTickets off
$revocation
CONFIG
  } >apache.conf
  exec apache2 -f "$work/apache.conf" -D FOREGROUND
}
. /interop/terminator.sh
version "$(apache2 -v | sed -n 's|.*Apache/\([0-9.]*\).*|\1|p')"
judge ocsp
