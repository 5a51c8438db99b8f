//! Proposals as people read them, and how they are made.

use ca_core::ceremony::{ActStatement, OfficerAct, Roster, spoken, words};
use ca_core::evidence::sshsig;
use ca_core::lifecycle::{ProposalRequest, ProposalView};
use ca_core::model::{ProposalId, ProposalState};
use ca_core::policy::{Policy, policy_changes, without_ends};
use ca_core::ports::Clock as _;
use serde_json::{Value, json};

use super::policy::in_force;
use crate::cli::Proposing;
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest, OfficersReport};
use crate::exit::{Exit, failure};
use crate::render::{many, plain, print, print_json, relative};
use crate::system::SystemClock;

/// How many lines of a difference are shown; `--subject` prints everything.
const MAX_LINES: usize = 200;

/// Who the officers are.
pub(super) async fn officers(config: &Config) -> anyhow::Result<OfficersReport> {
    match ask(&config.control.socket, &ControlRequest::Officers).await? {
        ControlAnswer::Officers(report) => Ok(*report),
        _ => Err(unexpected()),
    }
}

/// One proposal.
pub(super) async fn one(config: &Config, id: &ProposalId) -> anyhow::Result<ProposalView> {
    let ControlAnswer::Proposals { mut proposals } = ask(&config.control.socket, &ControlRequest::Proposal { id: id.clone() }).await?
    else {
        return Err(unexpected());
    };
    proposals.pop().ok_or_else(|| failure(Exit::Failed, format!("there is no proposal {id} (hint: `ca approve list`)")))
}

/// Makes a proposal and says what to do with it.
pub(super) async fn propose(config: &Config, request: ProposalRequest, proposing: Proposing) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let until = proposing.until.from(now).filter(|until| *until > now);
    let until = until.ok_or_else(|| failure(Exit::Usage, "--until must lie in the future, at most 14 days away"))?;
    let request = ControlRequest::Propose { request: Box::new(request), seconds: until.since(now).as_secs() };
    let ControlAnswer::Proposals { mut proposals } = ask(&config.control.socket, &request).await? else { return Err(unexpected()) };
    let view = proposals.pop().ok_or_else(unexpected)?;
    if proposing.output.json {
        return print_json(&to_json(&view));
    }
    let id = &view.proposal.id;
    print(&format!(
        "Proposed {id}: {}\nNothing happens until {} of the officers signed it, at the latest {} ({}).\n\n  look   ca approve show {id}\n  sign   ca approve sign {id} --key FILE --submit\n  or     ca approve sign {id}     (writes the statement, to be signed on another machine)\n",
        title(&view),
        view.needed,
        view.proposal.expires_at,
        relative(view.proposal.expires_at, now),
    ))
}

/// The act in one line.
pub(super) fn title(view: &ProposalView) -> String {
    match ActStatement::parse(view.proposal.statement.as_bytes()) {
        Ok(statement) => plain(&act_title(&statement.act)),
        Err(error) => format!("unreadable: {error}"),
    }
}

fn act_title(act: &OfficerAct) -> String {
    match act {
        OfficerAct::PutPolicy { version, .. } => format!("put policy version {version} in force"),
        OfficerAct::ChangeRoster { number, .. } => format!("change the officers' roster (change {number})"),
        OfficerAct::RevokeAuthority { authority, reason, .. } => format!("revoke the CA certificate of {authority} ({})", reason.name()),
        OfficerAct::Unhold { authority, serial } => format!("take certificate {serial} of {authority} off hold"),
        OfficerAct::RevokeBulk { authority, reason, count, selection, .. } => {
            format!("revoke {} of {authority} ({}): {selection}", many(*count, "certificate"), reason.name())
        }
        OfficerAct::Stop { reason } => format!("stop issuance: {reason}"),
        OfficerAct::Resume => "let issuance go on".to_owned(),
    }
}

/// How far it is.
pub(super) fn state(view: &ProposalView) -> String {
    match (view.proposal.state, &view.void) {
        (ProposalState::Pending, Some(_)) => "void".to_owned(),
        (ProposalState::Pending, None) => format!("{} of {} signed", view.signed_by.len(), view.needed),
        (ProposalState::Begun, _) => format!("under way, {} done", view.proposal.progress),
        (ProposalState::Done, _) => "done".to_owned(),
        (ProposalState::Ended, _) => "ended".to_owned(),
    }
}

/// Everything that an officer must have read before signing.
pub(super) async fn details(config: &Config, view: &ProposalView) -> anyhow::Result<String> {
    let statement = ActStatement::parse(view.proposal.statement.as_bytes())
        .map_err(|e| failure(Exit::Failed, format!("the proposal's statement can't be read: {e}")))?;
    let now = SystemClock.now();
    let standing = &statement.standing;
    let digest = ca_core::pki::sha256(view.proposal.statement.as_bytes());
    let mut lines = vec![
        ("proposal", view.proposal.id.to_string()),
        ("act", plain(&act_title(&statement.act))),
        ("state", state(view)),
        ("signed by", if view.signed_by.is_empty() { "nobody yet".to_owned() } else { view.signed_by.join(", ") }),
        ("can be signed", format!("until {} ({})", statement.expires_at, relative(statement.expires_at, now))),
        ("this CA", format!("root certificate SHA-256 {}", standing.ca_sha256)),
        ("roster", format!("number {}, SHA-256 {}", standing.roster_number, standing.roster_sha256)),
        ("policy", format!("version {}, SHA-256 {}", standing.policy_version, standing.policy_sha256)),
        ("statement", format!("SHA-256 {digest}")),
    ];
    if let Some(why) = view.void.as_ref().or(view.proposal.reason.as_ref()) {
        lines.push(("because", plain(why)));
    }
    let mut out: String = lines.iter().map(|(name, value)| format!("{name:<14} {value}\n")).collect();
    out.push_str("in words, to read to each other:\n");
    spoken(&digest).iter().for_each(|row| out.push_str(&format!("  {row}\n")));
    out.push('\n');
    if !is_intact(view) {
        out.push_str("THE DATABASE WAS CHANGED: this is not what was proposed. Do not sign.\n");
    }
    out.push_str(&subject(config, view, &statement.act).await?);
    Ok(out)
}

/// Whether the row still has the statement that its id names, and the subject that the statement names.
pub(super) fn is_intact(view: &ProposalView) -> bool {
    let digest = ca_core::pki::sha256(view.proposal.subject.as_bytes());
    let named = ActStatement::parse(view.proposal.statement.as_bytes()).is_ok_and(|statement| match statement.act {
        OfficerAct::PutPolicy { policy_sha256, .. } => policy_sha256 == digest,
        OfficerAct::ChangeRoster { roster_sha256, .. } => roster_sha256 == digest,
        OfficerAct::RevokeBulk { serials_sha256, .. } => serials_sha256 == digest,
        OfficerAct::RevokeAuthority { .. } | OfficerAct::Unhold { .. } | OfficerAct::Stop { .. } | OfficerAct::Resume => {
            view.proposal.subject.is_empty()
        }
    });
    named && ProposalId::of(&view.proposal.statement) == view.proposal.id
}

async fn subject(config: &Config, view: &ProposalView, act: &OfficerAct) -> anyhow::Result<String> {
    let text = &view.proposal.subject;
    let digest = ca_core::pki::sha256(text.as_bytes());
    Ok(match act {
        OfficerAct::PutPolicy { .. } => {
            let before = in_force(config).await?.bundle.policy;
            format!("The policy, SHA-256 {digest}, changes:\n{}", policy_difference(&before, text).unwrap_or_else(|e| format!("{e:#}\n")))
        }
        OfficerAct::ChangeRoster { .. } => {
            let before = officers(config).await?.roster;
            let shown = Roster::parse(text).map_or_else(|e| format!("{e}\n"), |after| roster_changes(&before, &after));
            format!("The roster, SHA-256 {digest}, changes:\n{shown}")
        }
        OfficerAct::RevokeBulk { count, .. } => format!(
            "The list: {count} serial numbers, SHA-256 {digest}. This can't be undone.\n`ca approve show {} --subject` prints it.\n",
            view.proposal.id
        ),
        OfficerAct::RevokeAuthority { authority, serial, certificate_sha256, .. } => format!(
            "The certificate: serial number {serial}, SHA-256 {certificate_sha256}. This can't be undone: {authority} issues no more, and its\nissuer's next CRL ceremony lists it.\n"
        ),
        OfficerAct::Unhold { .. } => "It is good again within a second, and the next CRL does not list it.\n".to_owned(),
        OfficerAct::Stop { .. } => {
            "Orders wait; revocations, CRLs and OCSP go on. Letting it go on needs the officers' quorum.\n".to_owned()
        }
        OfficerAct::Resume => "Orders that wait are served.\n".to_owned(),
    })
}

/// What changes from one policy document to the next, one a line.
///
/// # Errors
/// When one of them is no policy.
pub(super) fn policy_difference(before: &str, after: &str) -> anyhow::Result<String> {
    let parse = |text| Policy::parse(text).map_err(|e| failure(Exit::Failed, e.to_string()));
    let changes = policy_changes(&parse(before)?, &parse(after)?);
    let mut out = shortened(changes.iter().map(ToString::to_string));
    if changes.iter().all(|change| change.place == "version") {
        let lines = differing_lines(before, after);
        if !lines.is_empty() {
            out.push_str("Nothing else changes by meaning. These lines of the texts differ:\n");
            out.push_str(&shortened(lines.into_iter()));
        }
    }
    Ok(out)
}

/// The first lines, made fit for a terminal.
fn shortened(lines: impl ExactSizeIterator<Item = String>) -> String {
    let more = lines.len().saturating_sub(MAX_LINES);
    if lines.len() == 0 {
        return "  nothing\n".to_owned();
    }
    let mut out: String = lines.take(MAX_LINES).map(|line| format!("  {}\n", plain(&line))).collect();
    if more > 0 {
        out.push_str(&format!("  … and {more} more (`ca policy diff FILE --json` has all)\n"));
    }
    out
}

/// The lines between what two texts begin and end with alike; none: they differ in the version only.
fn differing_lines(before: &str, after: &str) -> Vec<String> {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let (before, after, _) = without_ends(&before, &after);
    if [before, after].iter().all(|lines| matches!(lines, [line] if line.trim_start().starts_with("version"))) {
        return Vec::new();
    }
    let marked = |mark: char, lines: &[&str]| lines.iter().map(|line| format!("{mark} {line}")).collect::<Vec<_>>();
    [marked('-', before), marked('+', after)].concat()
}

fn roster_changes(before: &Roster, after: &Roster) -> String {
    let people = |roster: &Roster| -> Vec<(String, String)> {
        let fingerprint = |key: &String| sshsig::fingerprint(key).map_or_else(|e| e.to_string(), |f| f.0);
        roster.officers.iter().flat_map(|o| o.keys.iter().map(move |key| (o.name.clone(), fingerprint(key)))).collect()
    };
    let (old, new) = (people(before), people(after));
    let mut out = String::new();
    for (name, key) in old.iter().filter(|p| !new.contains(p)) {
        out.push_str(&format!("  - {name} {key}\n"));
    }
    for (name, key) in new.iter().filter(|p| !old.contains(p)) {
        out.push_str(&format!("  + {name} {key}\n"));
    }
    if before.threshold != after.threshold {
        out.push_str(&format!("  threshold {} -> {}\n", before.threshold, after.threshold));
    }
    out.push_str(&format!("Then {} of {} must sign.\n", after.threshold, after.officers.len()));
    out
}

pub(super) fn to_json(view: &ProposalView) -> Value {
    let p = &view.proposal;
    let statement = ActStatement::parse(p.statement.as_bytes()).ok();
    let digest = ca_core::pki::sha256(p.statement.as_bytes());
    json!({
        "id": p.id, "state": p.state, "act": statement.as_ref().map(|s| s.act.action()), "title": title(view),
        "needed": view.needed, "signed_by": view.signed_by, "void": view.void, "reason": p.reason, "progress": p.progress,
        "proposed_at": p.proposed_at.to_rfc3339(), "expires_at": p.expires_at.to_rfc3339(),
        "statement_sha256": digest, "statement_words": words(&digest).join(" "), "detail": statement.map(|s| s.act),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_the_texts_is_told_where_there_is_none_of_meaning() {
        let check = |before: &str, after: &str, expected: &str| assert_eq!(policy_difference(before, after).unwrap(), expected);
        check("version = 1\n", "version = 1\n", "  nothing\n");
        check("version = 1\noperator_bulk = 2\n", "version = 2\noperator_bulk = 2\n", "  - version = 1\n  + version = 2\n");
        check(
            "version = 1\n",
            "version = 2\noperator_bulk = 2\n",
            "  - operator_bulk = 100\n  + operator_bulk = 2\n  - version = 1\n  + version = 2\n",
        );
        let texts = "Nothing else changes by meaning. These lines of the texts differ:\n";
        check(
            "version = 1\noperator_bulk = 2\n",
            "operator_bulk = 2 # two\nversion = 2\n",
            &format!(
                "  - version = 1\n  + version = 2\n{texts}  - version = 1\n  - operator_bulk = 2\n  + operator_bulk = 2 # two\n  + version = 2\n"
            ),
        );
        let many: String = (0..300).map(|i| format!("# {i}\n")).collect();
        let shown = policy_difference("version = 1\n", &format!("version = 1\n{many}")).unwrap();
        assert!(shown.contains("+ # 199\n") && shown.contains("… and 100 more"), "{shown}");
    }
}
