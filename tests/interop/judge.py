"""judge.py RESULTS [NAME…]: fails on a "no" that expected.tsv does not have, on an expected one that is none, and on a result
that is missing; without a NAME it writes docs/interop.md."""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
PAGE = HERE / "../../docs/interop.md"
CLIENT_FEATURES = {
    "EAB": "enrols with the grant's key id and secret, for a name that the grant covers",
    "renew": "gets another certificate with the account that it has",
    "profile": "names a profile in its order, at the default directory",
    "ARI": "asks renewalInfo and renews, unforced, once the window has begun (RFC 9773)",
    "replaces": "says in that order which certificate it replaces",
    "http-01": "proves a name that no grant covers, on port 80",
    "tls-alpn-01": "proves one on port 443 (RFC 8737)",
    "dns-01": "proves a wildcard by a TXT record",
    "IP": "gets a certificate for an address that it proves (RFC 8738)",
    "revoke": "revokes; OCSP says so",
    "key change": "changes its account's key (RFC 8555 §7.3.5) and orders with the new one",
    "deactivate": "deactivates its account",
    "printed": "enrols by the command that `ca grant create` prints, run as it is",
    "printed keys": "the same for a grant of each kind of key alone that the client can make: it asks for one of that kind",
    "printed IP": "the same for addresses of the grant, IPv4 and IPv6, alone and beside a name",
}
TERMINATOR_FEATURES = {
    "asks for it": "refuses a client without a certificate",
    "good": "lets a client with a good certificate in",
    "OCSP": "refuses a revoked one after asking OCSP",
    "CRL": "refuses a revoked one by the CRLs of the issuer and the root",
}


def read(path):
    """Lines of fields that tabs separate; comments begin with a number sign."""
    return [line.split("\t") for line in path.read_text().splitlines() if line and not line.startswith("#")]


class Judge:
    def __init__(self, results):
        self.results = results
        self.expected = {(name, feature): reason for name, feature, reason in read(HERE / "expected.tsv")}
        self.trouble = []

    def verdict(self, told, name, feature):
        """What stands in the cell, and why."""
        reason = self.expected.get((name, feature))
        if told is None:
            self.trouble.append(f"{name}, {feature}: no result")
            return "no", "it was not tried"
        kind, _, why = told.partition(": ")
        if kind == "no" and reason is None:
            self.trouble.append(f"{name}, {feature}: {told}")
        if kind != "no" and reason is not None:
            self.trouble.append(f"{name}, {feature}: {told}, where a no was expected (hint: take its line out of expected.tsv)")
        return kind, reason if kind == "no" and reason else why

    def table(self, names, features):
        lines = ["| | version | " + " | ".join(features) + " |", "| --- " * (len(features) + 2) + "|"]
        notes = []
        for name in names:
            path = self.results / name
            told = dict(read(path)) if path.exists() else {}
            cells = []
            for feature in features:
                kind, why = self.verdict(told.get(feature), name, feature)
                cells.append(kind)
                if kind != "yes" or why:
                    notes.append(f"- {name}, {feature}: {kind}: {why}.")
            lines.append(f"| {name} | {told.get('version', '?')} | " + " | ".join(cells) + " |")
        meanings = [f"- {feature}: {meaning}." for feature, meaning in features.items()]
        return "\n".join([*meanings, "", *lines, "", *notes])


def main():
    judge = Judge(pathlib.Path(sys.argv[1]))
    asked = sys.argv[2:]

    def scripts(kind):
        return sorted(path.stem for path in (HERE / kind).glob("*.sh") if not asked or path.stem in asked)

    clients = judge.table(scripts("clients"), CLIENT_FEATURES)
    terminators = judge.table(scripts("terminators"), TERMINATOR_FEATURES)
    for line in judge.trouble:
        print(line, file=sys.stderr)
    if not asked:
        PAGE.write_text(
            "# Which clients and terminators work\n\n"
            "`make interop` wrote this page: it drove each client and each terminator against this CA, in the version that Debian sid "
            "has, or the package registry of its language. A cell is `yes`: it was done and the outcome was looked at; `no`: it was tried; "
            "`n/a`: the program has no such thing. The reasons stand below each table. How to use each client: [clients.md](clients.md).\n\n"
            f"## ACME clients\n\n{clients}\n\n"
            f"## TLS terminators\n\nThey demand a client certificate of this CA.\n\n{terminators}\n"
        )
    sys.exit(1 if judge.trouble else 0)


main()
