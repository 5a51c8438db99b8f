#!/usr/bin/env bash
# Brings NIST's PKITS certificates and CRLs into a folder: pkits.sh PACKAGE FOLDER. They are public domain, and come
# with the package that pyca/cryptography tests itself with.
set -euo pipefail
package=$1 folder=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip download --quiet --disable-pip-version-check --retries 10 --no-deps --dest "$work" "$package"
python3 - "$work" "$folder" <<'PYTHON'
import pathlib, sys, zipfile
work, folder = map(pathlib.Path, sys.argv[1:])
wheel, = work.glob("*.whl")
prefix = "cryptography_vectors/x509/PKITS_data/"
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        part = pathlib.PurePosixPath(name.removeprefix(prefix))
        if name.startswith(prefix) and part.parts[:1] in (("certs",), ("crls",)) and part.suffix in (".crt", ".crl"):
            (folder / part.parts[0]).mkdir(exist_ok=True)
            (folder / part.parts[0] / part.name).write_bytes(archive.read(name))
PYTHON
