#!/bin/sh
# Rehearses the first ceremony as people would hold it: two of three officers, an administrator, a witness and an
# auditor, each with an own OpenSSH key; the root and the online keys on two SoftHSM tokens or, where a simulator is
# named, in two simulated YubiHSM 2. Every step is a command that the script of the plan names. It leaves the bundle in OUT, the roster beside it (OUT-roster.toml), the script and
# the report (OUT-script.md, OUT-report.md), and verifies the bundle as another user with nothing but bundle and roster.
#
#   ceremony-docs/rehearse.sh CA-CEREMONY OUT [YUBIHSM-SIMULATOR]
#
# It needs ssh-keygen (openssh-client), softhsm2-util (softhsm2), unshare and setpriv (util-linux), and ip (iproute2). As
# root it works in a network namespace with nothing but loopback, as the plan asks, and verifies as `nobody`; otherwise
# the rehearsal records the interfaces that are up, and the same user verifies.
set -eu

if [ $# -lt 2 ] || [ $# -gt 3 ]; then
    echo "usage: $0 CA-CEREMONY OUT [YUBIHSM-SIMULATOR]" >&2
    exit 2
fi
if [ "$(id -u)" = 0 ] && [ -z "${COUNTERSIGN_REHEARSAL_ROOM:-}" ] && unshare --net true 2> /dev/null; then
    # The whole room, simulated devices included, is away from every network.
    export COUNTERSIGN_REHEARSAL_ROOM=1
    exec unshare --net sh -c 'ip link set lo up && exec "$@"' sh "$0" "$@"
fi
tool=$(realpath "$1")
out=$2
simulator=${3:+$(realpath "$3")}
if [ -e "$out" ]; then
    echo "$out exists already; nothing is overwritten (hint: move it away)" >&2
    exit 1
fi
for program in ssh-keygen softhsm2-util ip; do
    command -v "$program" > /dev/null || { echo "$program is missing (hint: apt-get install openssh-client softhsm2 iproute2)" >&2; exit 1; }
done
module=${SOFTHSM2_MODULE:-}
for candidate in /usr/lib/softhsm/libsofthsm2.so /usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so /usr/lib64/softhsm/libsofthsm.so; do
    [ -n "$module" ] || [ ! -e "$candidate" ] || module=$candidate
done
[ -n "$module" ] || { echo "libsofthsm2.so is not found (hint: SOFTHSM2_MODULE=FILE)" >&2; exit 1; }

room=$(mktemp -d)
elsewhere=$(mktemp -d)
devices=
end() {
    [ -z "$devices" ] || kill $devices 2> /dev/null || true
    rm -rf "$room" "$elsewhere"
}
trap end EXIT

say() { printf '\n== %s\n' "$*"; }
# What the administrator types. $1 is the exit code that the script expects.
types() {
    expected=$1
    shift
    printf '$ ca-ceremony %s\n' "$*"
    code=0
    (cd "$room" && "$tool" "$@") || code=$?
    [ "$code" = "$expected" ] || { echo "exit code $code, and the script says $expected" >&2; exit 1; }
}
# A person signs a file of the bundle.
signs() {
    ssh-keygen -q -Y sign -n rehearsal@countersign -f "$room/$1" < "$room/bundle/$2" > "$room/bundle/sigs/$3.$1.sig"
    echo "$1 signed $2"
}

say "Before: each person makes a key, each device gets its credentials"
for name in ana bela cora dora wim adam; do ssh-keygen -q -t ed25519 -N '' -C "rehearsal $name" -f "$room/$name"; done
umask 077
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
softhsm_tokens() {
    mkdir -m 700 "$room/tokens"
    printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$room/tokens" > "$room/softhsm2.conf"
    export SOFTHSM2_CONF="$room/softhsm2.conf"
    for place in root online; do
        pin=$(random 16)
        # A SoftHSM token is a file, and this one is thrown away: its PIN may be seen on the command line.
        softhsm2-util --init-token --free --label "$place" --pin "$pin" --so-pin "$(random 16)" > /dev/null
        printf '%s\n' "$pin" > "$room/$place.pin"
        printf 'kind = "pkcs11"\nmodule = "%s"\ntoken = "%s"\npin = { file = "%s.pin" }\n' "$module" "$place" "$place" > "$room/$place.toml"
    done
}
# Two devices from the factory, each provisioned with split capabilities.
simulated_devices() {
    serial=1000000
    for place in root online; do
        serial=$((serial + 1))
        "$simulator" --listen 127.0.0.1:0 --state "$room/$place.device" --serial "$serial" --root "$room/$place.maker.der" \
            > "$room/$place.listening" &
        devices="$devices $!"
        until grep -q listening "$room/$place.listening"; do sleep 0.1; done
        printf 'connector = "%s"\nserial = "%s"\n' "$(sed -n 's|.*http://||p' "$room/$place.listening")" "$serial" > "$room/$place.toml"
        cp "$room/$place.toml" "$room/$place.device.toml"
        id=10
        for role in ceremony custodian signer auditor; do
            random 32 > "$room/$place.$role"
            printf '%s = { id = %s, credential = { file = "%s" } }\n' "$role" "$id" "$place.$role" >> "$room/$place.device.toml"
            id=$((id + 1))
        done
        printf 'kind = "yubihsm"\nkeys = [{ id = 10, credential = { file = "%s" } }, { id = 12, credential = { file = "%s" } }]\n' \
            "$place.ceremony" "$place.signer" >> "$room/$place.toml"
        types 0 yubihsm provision "$place.device.toml"
    done
}
if [ -n "$simulator" ]; then simulated_devices; else softhsm_tokens; fi

say "Before: the administrator writes the plan, and everyone reads it"
key() { cut -d' ' -f1,2 "$room/$1.pub"; }
# The certificates of the devices' makers, where the devices attest what they made.
makers() {
    [ -n "$simulator" ] || return 0
    for place in root online; do
        printf '"""-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n""", ' "$(base64 -w 64 "$room/$place.maker.der")"
    done
}
{
    cat << PLAN
format = "countersign/plan/2"
kind = "rehearsal"
title = "Rehearsal of the first ceremony"
status_base_url = "http://status.example.test"
approval_days = 7
attestation_roots = [$(makers)]
cps = { url = "https://example.test/cps", version = "1.0" }
tool = { sha256 = "$("$tool" words "$tool" | sed -n 's/^SHA-256 //p')" }
evidence = { bags = ["root-token", "root-pin"], media = ["bundle-copy"] }

[environment]
offline = true
no_swap = true
no_core_dumps = true

PLAN
    for place in root online; do (cd "$room" && "$tool" device "$place" --keystore "$place.toml" | grep -v '^#') && echo; done
    cat << PLAN
[[person]]
name = "dora"
role = "administrator"
keys = ["$(key dora)"]

[[person]]
name = "wim"
role = "witness"
keys = ["$(key wim)"]

[[person]]
name = "adam"
role = "auditor"
keys = ["$(key adam)"]

[[custodian]]
name = "ana"
holds = "the root's token"

[[custodian]]
name = "bela"
holds = "the PIN of the root's token"

[roster]
threshold = 2
PLAN
    for name in ana bela cora; do printf '[[roster.officer]]\nname = "%s"\nkeys = ["%s"]\n' "$name" "$(key $name)"; done
    cat << 'PLAN'

[root]
authority = "example-root"
key = "example-root-2026"
algorithm = "p384"
subject = { country = "DE", organization = "EXAMPLE", common_name = "REHEARSAL EXAMPLE Root 2026" }
lifetime_days = 7300
crl_lifetime_days = 400
next_ceremony_days = 365

[[issuing]]
authority = "example"
key = "example-issuing-2026"
algorithm = "p256"
subject = { country = "DE", organization = "EXAMPLE", common_name = "REHEARSAL EXAMPLE Issuing 2026" }
lifetime_days = 1825
permitted = ["dns:example.test", "ip:10.0.0.0/8"]

[policy]
version = 1
[[policy.authority]]
name = "example"
names = ["dns:*.example.test", "ip:10.0.0.0/8"]
max_per_hour = 1000
crl_validity = 86400
crl_interval = 3600
profile.client = { shape = "client", lifetime = 2592000 }
profile.server = { shape = "server", lifetime = 2592000 }
PLAN
} > "$room/plan.toml"
(cd "$room" && "$tool" script plan.toml) > "$room/script.md"

run="run plan.toml --out bundle --root-keystore root.toml --online-keystore online.toml"
say "Step 1: the officers sign the plan"
types 0 words plan.toml
types 5 $run
signs ana plan.toml plan
signs bela plan.toml plan

say "Step 2: who is here, and what the clocks say"
types 5 $run
for name in dora ana bela wim; do
    types 0 note bundle attendance "$name" --own-clock "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    signs "$name" "records/attendance-$name.json" "record-attendance-$name"
done

say "Step 3: machine and devices are checked, keys are made"
types 5 $run

say "Step 4: the officers read and sign each statement"
types 0 show bundle
for statement in "$room"/bundle/statements/*.json; do
    name=$(basename "$statement" .json)
    signs ana "statements/$name.json" "$name"
    signs bela "statements/$name.json" "$name"
done

say "Step 5: the root signs what was approved"
types 5 $run

say "Step 6: bags, media, custody, exceptions"
types 0 note bundle bag root-token TB-000101
types 0 note bundle bag root-pin TB-000201
types 0 note bundle bag root-pin TB-000102 --again "the number was read from the wrong bag"
types 0 note bundle media bundle-copy --file bundle/certs/example-root.pem
types 0 note bundle custody ana --bag TB-000101
types 0 note bundle custody bela --bag TB-000102
signs ana records/custody-ana.json record-custody-ana
signs bela records/custody-bela.json record-custody-bela
types 0 exception list bundle
line=$(cd "$room" && "$tool" exception list bundle | sed -n 's/^line \([0-9]*\) .*/\1/p')
types 0 exception dispose bundle "$line" "the bag was shown to everyone and its number compared" --by ana,wim

say "Step 7: the transcript is closed and verified"
types 0 $run

say "Step 8: everyone signs the closed transcript"
for name in ana bela wim dora; do signs "$name" transcript.jsonl transcript; done
(cd "$room" && "$tool" report bundle) > "$room/report.md"

say "Step 9: the auditor verifies the bundle elsewhere"
umask 022
chmod 755 "$elsewhere"
cp "$tool" "$elsewhere/ca-ceremony"
cp -r "$room/bundle" "$elsewhere/bundle"
cp "$room/bundle/roster.toml" "$elsewhere/roster.toml"
chmod -R a+rX "$elsewhere"
other=
[ "$(id -u)" != 0 ] || other="setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs"
(cd "$elsewhere" && env -i PATH=/usr/bin:/bin $other ./ca-ceremony verify bundle --roster roster.toml --require-cosigned)

if [ -n "$simulator" ]; then
    say "Step 10: the ceremony's keys leave the devices; what stays can sign, or bring keys in, or read the log: never two of them"
    # A device ends the sessions of earlier commands after 30 idle seconds, and has room for sixteen.
    sleep 31
    for place in root online; do types 0 yubihsm retire "$place.device.toml"; done
fi

mkdir -p "$(dirname "$out")"
cp -r "$elsewhere/bundle" "$out"
cp "$room/bundle/roster.toml" "$out-roster.toml"
cp "$room/script.md" "$out-script.md"
cp "$room/report.md" "$out-report.md"
chmod -R u+w,a+rX "$out" "$out-roster.toml" "$out-script.md" "$out-report.md"
say "Done: $out"
