# mod_md, the ACME client inside Apache. What it got is in use after the next restart: an outcome is waited for, then looked at.
client=mod_md
. /interop/lib.sh
version "Apache $(apache2 -v | sed -n 's|.*Apache/\([0-9.]*\).*|\1|p')"
# It is a server; the profile `short` is a client's all the same.
export DIRECTORY=$base/a/demo/acme/p/server/directory
purpose=any

# site DIRECTORY NAME METHOD [MORE]: a configuration, in which MORE stands.
site() {
  local module
  mkdir -p htdocs md
  # The page's block takes these from the environment.
  export DIRECTORY=$1 NAME=$2 EAB_HMAC
  EAB_HMAC=$(cat eab.key)
  {
    for module in mpm_event authz_core dir ssl md; do echo "LoadModule ${module}_module /usr/lib/apache2/modules/mod_$module.so"; done
    cat <<CONFIG
ServerRoot $PWD
ServerName $host
PidFile $PWD/pid
ErrorLog $PWD/error.log
LogLevel md:debug
User www-data
Group www-data
DocumentRoot $PWD/htdocs
Listen 127.0.0.1:80
Listen 127.0.0.1:443
Protocols http/1.1 acme-tls/1
MDStoreDir $PWD/md
MDCAChallenges $3
MDCheckInterval 2s
MDInitialDelay 1s
MDRetryDelay 5s
$(block "apacheconf mod_md")
${4:-}
<VirtualHost *:80>
ServerName ${2/#\*/www}
ServerAlias $2
</VirtualHost>
<VirtualHost *:443>
ServerName ${2/#\*/www}
ServerAlias $2
SSLEngine on
</VirtualHost>
CONFIG
  } >apache.conf
  chmod -R a+rX . && chmod 755 "$work"
}
certificate() { compgen -G "md/domains/$1/pubcert*.pem" | head -n 1; }
# after COMMAND…: Apache runs until COMMAND holds; the next start takes what it staged into use.
after() {
  local server status=0
  apache2 -f "$PWD/apache.conf" -D FOREGROUND &
  server=$!
  wait_until 60 "$@" || status=$?
  end "$server"
  [ $status = 0 ] || fail "$(tail -n 1 error.log)"
}
is_staged() { compgen -G "md/staging/$1/pubcert*.pem"; }
is_in_use() { certificate "$1" && ! is_staged "$1"; }
# got NAME
got() { after is_staged "$1" && after is_in_use "$1"; }

enrol() { in_folder enrolled; site "$DIRECTORY" "$host" http-01; got "$host"; good "$(certificate "$host")" "$host"; }
profile() { in_folder short; site "$default_directory" "$host" http-01 "MDProfile short"; got "$host"; short "$(certificate "$host")"; }
renew() {
  cd enrolled
  cp "$(certificate "$host")" before.pem
  # The time to renew begins a whole life before the end.
  site "$DIRECTORY" "$host" http-01 "MDRenewWindow 30d
MDRenewViaARI off"
  got "$host"
  renewed "$(certificate "$host")" "$(serial before.pem)"
}
ari() {
  local asked
  in_folder ari
  site "$DIRECTORY" "$host" http-01 "MDRenewViaARI on"
  got "$host"
  cp "$(certificate "$host")" before.pem
  by_operator before.pem
  asked=$(requests /acme/renewal-info)
  got "$host"
  asked_ari "$asked"
  renewed "$(certificate "$host")" "$(serial before.pem)"
}
challenged() { # NAME METHOD MORE
  in_folder "$2"
  site "$DIRECTORY" "$1" "$2" "${3:-}"
  got "$1"
  good "$(certificate "$1")" "$1"
}
printf '#!/bin/sh\ncase $1 in setup) exec /interop/txt.sh set "_acme-challenge.$2" "$3" ;; teardown) exec /interop/txt.sh clear "_acme-challenge.$2" ;; esac\n' >hook.sh
chmod 755 hook.sh

try EAB enrol
try profile profile
try renew renew
try ARI ari
try replaces replaced ari/before.pem
try http-01 challenged md-http.dmz.demo.test http-01
try tls-alpn-01 challenged md-tls.dmz.demo.test tls-alpn-01
try dns-01 challenged '*.dmz.demo.test' dns-01 "MDChallengeDns01 $work/hook.sh"
cannot IP "mod_md takes domain names only"
cannot revoke "mod_md has no command for it: the operators revoke"
cannot "key change" "mod_md has no command for it"
cannot deactivate "mod_md has no command for it"
cannot_printed "ca grant create prints no configuration for it; clients.md has one"
