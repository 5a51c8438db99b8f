# `ca agent`, the project's own. Names are proven by grants alone; it revokes nothing.
client=agent
. /interop/lib.sh
export PATH=/w/bin:$PATH
version "$(ca --version | cut -d' ' -f2)"

enrol() { documented agent-enrol; good agent/live/cert.pem "$NAME"; }
changed() { [ "$(serial "$1")" != "$2" ]; }
profile() {
  in_folder short
  export DIRECTORY=$default_directory
  chmod 600 eab.key
  ca agent enrol --dir agent --directory "$DIRECTORY" --ca-bundle ca-bundle.pem --eab-kid "$KID" --eab-hmac-file eab.key --name "$NAME" --profile short
  short agent/live/cert.pem
}
renew() {
  local agent asked status=0
  # A short life, so that its window is soon.
  profile
  cd "$work/short"
  cp agent/live/cert.pem before.pem
  asked=$(requests /acme/renewal-info)
  documented agent-run &
  agent=$!
  wait_until 80 changed agent/live/cert.pem "$(serial before.pem)" || status=$?
  end "$agent"
  [ $status = 0 ] || return 1
  renewed agent/live/cert.pem "$(serial before.pem)"
  asked_ari "$asked"
  touch "$work/asked"
}
printed_client="ca agent"
issued() { echo agent/live/cert.pem; }
ari() { [ -e asked ] || fail "it did not renew by the window"; }

try EAB enrol
try renew renew
try replaces replaced short/before.pem
try ARI ari
try profile profile
for feature in http-01 tls-alpn-01 dns-01; do cannot "$feature" "the agent takes names that its grant covers"; done
cannot IP "the agent takes addresses that its grant covers"
cannot revoke "the agent has no command for it: the operators revoke"
cannot "key change" "the agent has no command for it"
cannot deactivate "the agent has no command for it"
try printed printed_name
try "printed keys" printed_keys p256 p384 ed25519 rsa2048 rsa3072 rsa4096 ml-dsa-65 ml-dsa-87
try "printed IP" printed_addresses
