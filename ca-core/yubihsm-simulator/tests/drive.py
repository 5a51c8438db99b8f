"""Drives a device with Yubico's library: argument 1 is the connector, argument 2 the maker's root (DER)."""

import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from yubihsm import YubiHsm
from yubihsm.defs import ALGORITHM, AUDIT, CAPABILITY, COMMAND, ERROR, OBJECT, ORIGIN
from yubihsm.exceptions import YubiHsmAuthenticationError, YubiHsmDeviceError
from yubihsm.objects import AsymmetricKey, AuthenticationKey, KeyAttestationExtensions, Opaque, WrapKey

PASSWORD = "password"


def refused(error, act):
    try:
        act()
    except YubiHsmDeviceError as e:
        assert e.code == error, f"{e.code!r} instead of {error!r}"
    else:
        raise AssertionError(f"the device should refuse with {error!r}")


hsm = YubiHsm.connect(sys.argv[1])
info = hsm.get_device_info()
assert info.version == (2, 4, 1) and info.serial == 7654321 and info.part_number == "simulator"
assert hsm.send_cmd(COMMAND.ECHO, b"no session") == b"no session"

try:
    hsm.create_session_derived(1, "wrong")
    raise AssertionError("a wrong password opened a session")
except YubiHsmAuthenticationError:
    pass

session = hsm.create_session_derived(1, PASSWORD)
assert session.send_secure_cmd(COMMAND.ECHO, b"x" * 2021) == b"x" * 2021
assert len(session.get_pseudo_random(64)) == 64

# Audit: the library checks the chain of digests by itself.
first = session.get_log_entries()
assert [e.number for e in first.entries] == [1, 2]
session.set_log_index(2)
session.set_command_audit({COMMAND.SIGN_ECDSA: AUDIT.FIXED, COMMAND.GENERATE_ASYMMETRIC_KEY: AUDIT.ON})
assert session.get_command_audit()[COMMAND.SIGN_ECDSA] == AUDIT.FIXED
refused(ERROR.INVALID_DATA, lambda: session.set_command_audit({COMMAND.SIGN_ECDSA: AUDIT.OFF}))
session.set_force_audit(AUDIT.ON)
assert session.get_force_audit() == AUDIT.ON

# Keys.
signing = CAPABILITY.SIGN_ECDSA | CAPABILITY.EXPORTABLE_UNDER_WRAP
for number, algorithm in [(5, ALGORITHM.EC_P256), (6, ALGORITHM.EC_P384)]:
    key = AsymmetricKey.generate(session, number, f"key {number}", 1, signing, algorithm)
    signature = key.sign_ecdsa(b"message")
    key.get_public_key().verify(signature, b"message", ec.ECDSA(hashes.SHA256()))
ed = AsymmetricKey.generate(session, 7, "ed", 1, CAPABILITY.SIGN_EDDSA, ALGORITHM.EC_ED25519)
ed.get_public_key().verify(ed.sign_eddsa(b"message"), b"message")
private = ec.generate_private_key(ec.SECP256R1())
imported = AsymmetricKey.put(session, 8, "imported", 1, CAPABILITY.SIGN_ECDSA, private)
private.public_key().verify(imported.sign_ecdsa(b"m"), b"m", ec.ECDSA(hashes.SHA256()))
assert imported.get_info().origin == ORIGIN.IMPORTED
refused(ERROR.OBJECT_EXISTS, lambda: AsymmetricKey.put(session, 8, "again", 1, CAPABILITY.SIGN_ECDSA, private))
refused(ERROR.INSUFFICIENT_PERMISSIONS, lambda: ed.sign_ecdsa(b"m"))
assert [o.id for o in session.list_objects(object_type=OBJECT.ASYMMETRIC_KEY)] == [5, 6, 7, 8]
assert [o.id for o in session.list_objects(label="ed")] == [7]

# The log, drained and continuous.
log = session.get_log_entries(previous_entry=first.entries[-1])
signs = [e for e in log.entries if e.command == COMMAND.SIGN_ECDSA]
assert [e.target_key for e in signs] == [5, 6, 8, 7] and signs[-1].result == ERROR.INSUFFICIENT_PERMISSIONS
session.set_log_index(log.entries[-1].number)
AsymmetricKey(session, 5).sign_ecdsa(b"next")
assert len(session.get_log_entries(previous_entry=log.entries[-1]).entries) == 1

# Attestation: key, device, root.
root = x509.load_der_x509_certificate(open(sys.argv[2], "rb").read())
device = Opaque(session, 0).get_certificate()
attested = AsymmetricKey(session, 5).attest()
device.verify_directly_issued_by(root)
attested.verify_directly_issued_by(device)
claims = KeyAttestationExtensions.parse(attested)
assert claims.serial == 7654321 and claims.firmware_version == (2, 4, 1) and claims.object_id == 5
assert claims.origin == ORIGIN.GENERATED and claims.domains == 1 and claims.capabilities == signing and claims.label == "key 5"
assert attested.public_key() == AsymmetricKey(session, 5).get_public_key()

# Authentication keys: what is not delegated cannot be given.
limited = AuthenticationKey.put(session, 20, "limited", 1, CAPABILITY.SIGN_ECDSA | CAPABILITY.PUT_AUTHENTICATION_KEY, 0, b"e" * 16, b"m" * 16)
other = hsm.create_session(20, b"e" * 16, b"m" * 16)
refused(
    ERROR.INSUFFICIENT_PERMISSIONS,
    lambda: AuthenticationKey.put(other, 21, "more", 1, CAPABILITY.SIGN_ECDSA, 0, b"e" * 16, b"m" * 16),
)
refused(ERROR.INSUFFICIENT_PERMISSIONS, lambda: other.get_log_entries())
refused(ERROR.INSUFFICIENT_PERMISSIONS, lambda: AsymmetricKey(other, 5).delete())
other.close()
limited.change_key(b"E" * 16, b"M" * 16)
hsm.create_session(20, b"E" * 16, b"M" * 16).close()

# Wrapping: out, deleted, and in again.
wrap_key = WrapKey.generate(
    session, 30, "wrap", 1, CAPABILITY.EXPORT_WRAPPED | CAPABILITY.IMPORT_WRAPPED, ALGORITHM.AES256_CCM_WRAP, signing
)
key = AsymmetricKey(session, 5)
public = key.get_public_key()
wrapped = wrap_key.export_wrapped(key)
refused(ERROR.INSUFFICIENT_PERMISSIONS, lambda: wrap_key.export_wrapped(ed))
key.delete()
refused(ERROR.OBJECT_NOT_FOUND, key.get_public_key)
restored = wrap_key.import_wrapped(wrapped)
assert restored.get_public_key() == public and restored.get_info().origin == ORIGIN.GENERATED | ORIGIN.IMPORTED_WRAPPED
assert restored.get_info().sequence == 1

session.reset_device()
fresh = YubiHsm.connect(sys.argv[1]).create_session_derived(1, PASSWORD)
assert [e.number for e in fresh.get_log_entries().entries] == [1, 2]
assert fresh.list_objects(object_type=OBJECT.ASYMMETRIC_KEY) == []
print("all steps passed")
