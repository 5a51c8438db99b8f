#!/usr/bin/env bash
# Installs the real clients and terminators that the tests drive, where it may; says what to install otherwise.
set -euo pipefail
declare -A package=([certbot]=certbot [lego]=lego [nginx]=nginx-light [openssl]=openssl [curl]=curl [ssh-keygen]=openssh-client [sqlite3]=sqlite3
  [softhsm2-util]=softhsm2 [pkcs11-tool]=opensc [unshare]=util-linux [setpriv]=util-linux [ip]=iproute2 [python3]=python3 [pgrep]=procps [haproxy]=haproxy
  [uacme]=uacme [dehydrated]=dehydrated [ocsptool]=gnutls-bin)
missing=()
for program in "${!package[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
# uacme trusts what stands there and nothing else.
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
# The YubiHSM simulator is judged by the maker's own library, in an environment of its own.
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
[ ${#missing[@]} = 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing for the tests: ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "The tests drive real programs that are missing here. As root: apt-get install ${missing[*]}" >&2
  exit 1
fi
