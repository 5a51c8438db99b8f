"""drive_pkilint.py MANIFEST: runs pkilint's own programs on every specimen of the manifest, in one process.

Prints a JSON line for each program and specimen: what was found. A file that a program can't read is a finding of severity
FATAL: the programs themselves only exit with 1 then, as they do for a single finding.
"""

import contextlib
import io
import json
import pathlib
import sys

from pkilint.bin import lint_crl, lint_etsi_cert, lint_ocsp_response, lint_pkix_cert, lint_pkix_signer_signee_cert_chain

# Open Banking's profiles name a legal person. A private CA claims no qualified status, and OBWAC names no website: its CN is
# the directory's identifier.
ETSI_PROFILES = ["obwac", "obseal"]
ETSI_TYPE = "NCP-LEGAL-PERSON-CERTIFICATE"
SHOW = ["-s", "INFO", "-f", "JSON"]


def jobs(entry, folder):
    """The programs that judge a specimen, with their arguments."""
    file, issuer = str(folder / entry["file"]), str(folder / entry["issuers"][0])
    if entry["kind"] == "crl":
        kind = "ARL" if len(entry["issuers"]) == 1 else "CRL"
        yield lint_crl, ["lint", "-t", kind, "-p", "PKIX", *SHOW, file]
    elif entry["kind"] == "ocsp-response":
        yield lint_ocsp_response, ["lint", *SHOW, file]
    else:
        yield lint_pkix_cert, ["lint", *SHOW, file]
        # A root has nothing above it, and no authority key identifier (RFC 5280 section 4.2.1.1).
        if entry["profile"] != "root":
            yield lint_pkix_signer_signee_cert_chain, ["lint", *SHOW, issuer, file]
        # ETSI wants a policy OID, OCSP and CRLs, which the officers' policy configures: the variants without are not judged so.
        if entry["profile"] in ETSI_PROFILES and "-least-" not in entry["name"] and "-no-rev-avail-" not in entry["name"]:
            yield lint_etsi_cert, ["lint", "-t", ETSI_TYPE, *SHOW, file]


def findings(program, arguments):
    said, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        program.main(arguments)
    text = said.getvalue()
    if not text.strip():
        return [{"severity": "FATAL", "code": "unreadable", "detail": errors.getvalue().strip()}]
    return [
        {
            "severity": description["severity"],
            "code": description["code"],
            "detail": " ".join(filter(None, [result["node_path"], description["message"]])),
        }
        for result in json.loads(text)["results"]
        for description in result["finding_descriptions"]
    ]


def main():
    manifest = pathlib.Path(sys.argv[1])
    for entry in json.loads(manifest.read_text()):
        for program, arguments in jobs(entry, manifest.parent):
            name = program.__name__.rsplit(".", 1)[-1]
            print(json.dumps({"specimen": entry["name"], "program": name, "findings": findings(program, arguments)}))


main()
