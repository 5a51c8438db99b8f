//! Go: crypto/x509 and x/crypto/ocsp, by the program in `go/`.

use std::path::Path;

use ca_testkit::program::output;
use ca_testkit::specimens::Specimen;

use crate::finding::Judgement;
use crate::folder::Folder;

const REMEDY: &str = "run tests/lint_oracles/run.sh";

pub(crate) fn judge(specimens: &[Specimen], folder: &Folder) -> Judgement {
    folder.write(specimens);
    let version = output(folder.command("go", true).arg("version"), REMEDY);
    let version = version.split_whitespace().nth(2).unwrap_or_default().trim_start_matches("go").to_owned();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lint_oracles/go/judge.go");
    std::fs::copy(source, folder.path("judge.go")).unwrap();
    // Debian's package of x/crypto lies where GOPATH builds look.
    let build = ["GO111MODULE=off", "GOPATH=/usr/share/gocode", "GOFLAGS=-buildvcs=false", "GOCACHE=/tmp/go-build", "go", "build"];
    output(folder.command("env", true).args(build).args(["-o", "judge", "judge.go"]), "read what the compiler says");
    let text = output(folder.command("./judge", true).arg("manifest.json"), "read what the program says");
    let mut judgement = Judgement::new("go", version);
    judgement.note_lines(&text, specimens);
    judgement
}
