//! The script of a ceremony, from its plan: numbered rows to be followed, initialled and timed with a pen.

use ca_core::ceremony::{Acts, CeremonyKind, Inventory, Plan, Role, grouped, spoken};
use ca_core::evidence::sshsig;
use ca_core::pki::Sha256Digest;

use crate::design::{Act, planned_keys};
use crate::document::{Cell, Document, Section};
use crate::steps::Step;

/// Renders the script of `plan`.
pub(crate) fn script(plan: &Plan) -> Document {
    Document {
        title: format!("Script: {}", plan.title),
        note: format!(
            "A {} ceremony. Every row is done in order, initialled by who did it, and timed. What is not in the script is an exception: stop, say so, and have it written down with `ca ceremony exception add`.",
            plan.kind()
        ),
        sections: vec![plan_section(plan), people(plan), devices(plan), rows(plan)],
    }
}

/// A digest as people compare it: hexadecimal in groups, then words in rows.
pub(crate) fn digest_cell(digest: &Sha256Digest) -> Cell {
    let mut lines = grouped(digest).to_vec();
    lines.extend(spoken(digest));
    Cell::code(lines.join("\n"))
}

fn yes(flag: bool) -> &'static str {
    if flag { "yes" } else { "NO: not asked for" }
}

/// What the plan pins and asks for.
pub(crate) fn plan_section(plan: &Plan) -> Section {
    let frame = &plan.frame;
    let environment = frame.environment;
    let pair = |name: &str, cell: Cell| vec![Cell::text(name), cell];
    let tool = frame.tool.as_ref().map_or_else(|| Cell::text("not pinned; what runs is recorded"), |t| digest_cell(&t.sha256));
    Section {
        heading: "Plan".to_owned(),
        columns: vec!["what", "value"],
        rows: vec![
            pair("kind", Cell::text(plan.kind().name())),
            pair("SHA-256 of the plan", digest_cell(&plan.sha256)),
            pair("SHA-256 of the tool", tool),
            pair("practice statement", Cell::text(format!("{}, version {}", frame.cps.url, frame.cps.version))),
            pair("status below", Cell::text(&plan.status_base_url)),
            pair("who must sign", Cell::text(format!("{} of {} officers", plan.roster.threshold, plan.roster.officers.len()))),
            pair("offline", Cell::text(yes(environment.offline))),
            pair("no swap", Cell::text(yes(environment.no_swap))),
            pair("no core dumps", Cell::text(yes(environment.no_core_dumps))),
            pair("tamper bags", Cell::text(frame.evidence.bags.join(", "))),
            pair("media", Cell::text(frame.evidence.media.join(", "))),
        ],
    }
}

fn people(plan: &Plan) -> Section {
    let rows = plan.frame.people.everyone(&plan.roster).map(|(name, role, keys)| {
        let keys: Vec<String> = keys.iter().filter_map(|k| sshsig::fingerprint(k).ok()).map(|f| f.0).collect();
        let holds = plan.frame.people.custodians.iter().find(|c| c.name == name).map_or("", |c| c.holds.as_str());
        vec![Cell::text(name), Cell::text(role.name()), Cell::code(keys.join("\n")), Cell::text(holds), Cell::Blank]
    });
    Section { heading: "People".to_owned(), columns: vec!["name", "role", "keys", "keeps", "signature"], rows: rows.collect() }
}

fn devices(plan: &Plan) -> Section {
    let rows = plan.frame.devices.iter().map(|(place, pin)| {
        let before = match &pin.before {
            Inventory::New => "new: as freshly reset".to_owned(),
            Inventory::Digest(digest) => format!("inventory of SHA-256 {digest}"),
            Inventory::Lines(lines) if lines.is_empty() => "empty".to_owned(),
            Inventory::Lines(lines) => lines.join("\n"),
        };
        let firmware = pin.lowest_firmware.map_or_else(|| "none".to_owned(), |f| f.to_string());
        let kind = serde_json::to_value(pin.kind).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        vec![Cell::text(place.name()), Cell::text(kind), Cell::code(&pin.serial), Cell::text(firmware), Cell::code(before), Cell::Blank]
    });
    let columns = vec!["holds", "kind", "serial number", "lowest firmware", "holds before", "seen"];
    Section { heading: "Devices".to_owned(), columns, rows: rows.collect() }
}

/// Builds the numbered rows.
struct Rows {
    out: Vec<Vec<Cell>>,
    step: Step,
    within: usize,
}

impl Rows {
    fn step(&mut self, step: Step) {
        self.step = step;
        self.within = 0;
        self.out.push(vec![
            Cell::text(step.number().to_string()),
            Cell::text("everyone"),
            Cell::text(step.title()),
            Cell::text(""),
            Cell::text(""),
            Cell::text(""),
        ]);
    }

    fn row(&mut self, who: &str, act: Cell, expected: &str) {
        self.within += 1;
        let number = format!("{}.{}", self.step.number(), self.within);
        self.out.push(vec![Cell::text(number), Cell::text(who), act, Cell::text(expected), Cell::Blank, Cell::Blank]);
    }
}

const RUN: &str = "ca ceremony run plan.toml --out bundle ROOT-KEYS ONLINE-KEYS";
const TYPES: &str = "administrator";

fn rows(plan: &Plan) -> Section {
    let namespace = plan.kind().namespace();
    let sign = |file: &str, subject: &str| {
        Cell::code(format!("ssh-keygen -Y sign -n {namespace} -f KEY < bundle/{file} > bundle/sigs/{subject}.NAME.sig"))
    };
    let text = |t: String| Cell::text(t);
    let officers = format!("{} officers", plan.roster.threshold);
    let mut rows = Rows { out: Vec::new(), step: Step::Plan, within: 0 };

    rows.step(Step::Plan);
    rows.row(TYPES, Cell::code("ca ceremony words plan.toml"), "the words of the plan, as above; one reads, all compare");
    rows.row(TYPES, Cell::code(RUN), "STEP 1; exit code 5; no key was made");
    rows.row(&officers, sign("plan.toml", "plan"), "a file for each of them in bundle/sigs");

    rows.step(Step::Room);
    rows.row(TYPES, Cell::code(RUN), "tool, machine and devices are as planned; STEP 2; exit code 5");
    for (name, role, _) in
        plan.frame.people.everyone(&plan.roster).filter(|(_, role, _)| matches!(role, Role::Administrator | Role::Officer | Role::Witness))
    {
        let who = format!("{name} ({role})");
        rows.row(
            &who,
            Cell::code(format!("ca ceremony note bundle attendance {name} --own-clock TIME")),
            "a record and how to sign it; the time is within 2 minutes",
        );
        rows.row(
            &who,
            sign(&format!("records/attendance-{name}.json"), &format!("record-attendance-{name}")),
            "a file in bundle/sigs; who is absent is crossed out",
        );
    }

    rows.step(Step::Keys);
    let keys = planned_keys(plan);
    let made: Vec<String> = keys.iter().map(|k| format!("{} ({}, {})", k.label, k.algorithm.described(), k.place.name())).collect();
    rows.row(TYPES, Cell::code(RUN), &format!("keys: {}; STEP 4; exit code 5", made.join(", ")));

    rows.step(Step::Statements);
    for act in Act::all(plan) {
        let name = act.name(plan);
        rows.row(
            "everyone",
            Cell::code(format!("ca ceremony show bundle {name}")),
            "agrees: the statement names exactly these bytes; the words are compared",
        );
        rows.row(&officers, sign(&format!("statements/{name}.json"), &name), "a file for each of them in bundle/sigs");
    }

    rows.step(Step::Signing);
    if let Acts::Credentials { credential, .. } = &plan.acts {
        rows.row(TYPES, Cell::code(format!("{RUN} --shares SHARES")), "it asks the holders, one by one; then STEP 6; exit code 5");
        let mut holders: Vec<&str> = credential.iter().flat_map(|c| &c.holders).map(|h| h.as_str()).collect();
        holders.sort_unstable();
        holders.dedup();
        let act = "each types a passphrase twice, unseen by all others, and takes the own file SHARES/NAME.HOLDER.share away";
        rows.row(&holders.join(", "), text(act.to_owned()), "a file for each share; the device opens with what the shares give");
    } else {
        rows.row(TYPES, Cell::code(RUN), "certificates and CRL are in the bundle; STEP 6; exit code 5");
    }

    rows.step(Step::Evidence);
    for what in &plan.frame.evidence.bags {
        rows.row(
            "administrator, witness",
            Cell::code(format!("ca ceremony note bundle bag {what} NUMBER")),
            "number of the bag: ____________________",
        );
    }
    for what in &plan.frame.evidence.media {
        rows.row(
            "administrator, witness",
            Cell::code(format!("ca ceremony note bundle media {what} --file IMAGE")),
            "the digest in words, compared with the medium's label",
        );
    }
    for custodian in &plan.frame.people.custodians {
        let name = &custodian.name;
        rows.row(name, text(format!("receives {} in its bag", custodian.holds)), "the bag is whole; its number is the one above");
        rows.row(TYPES, Cell::code(format!("ca ceremony note bundle custody {name} --bag NUMBER")), "a record and how to sign it");
        rows.row(name, sign(&format!("records/custody-{name}.json"), &format!("record-custody-{name}")), "a file in bundle/sigs");
    }
    rows.row(
        "officer, witness",
        Cell::code("ca ceremony exception list bundle"),
        "no exception; else each is disposed of by an officer and a witness",
    );

    rows.step(Step::Closing);
    rows.row(TYPES, Cell::code(RUN), "STEP 8; exit code 0; the transcript's words are compared");

    rows.step(Step::CoSigning);
    rows.row("officers and witnesses", sign("transcript.jsonl", "transcript"), "a file for each of them in bundle/sigs");
    rows.row(
        TYPES,
        text("copies the bundle to each medium; takes the root's key store offline".to_owned()),
        "every copy has the same digests",
    );

    rows.step(Step::Audit);
    let verify = "ca-ceremony verify bundle --roster ROSTER --require-cosigned";
    rows.row("auditor", Cell::code(verify), "Verified; as trusted; co-signed by the quorum and a witness");
    if plan.kind() == CeremonyKind::Rehearsal {
        rows.row("everyone", text("destroys what the rehearsal made".to_owned()), "nothing of it is trusted anywhere");
    }
    let columns = vec!["#", "who", "command or act", "expected", "initials", "time (UTC)"];
    Section { heading: "Steps".to_owned(), columns, rows: rows.out }
}
