//! Certificates marked for replacement, so that clients renew before a revocation (RFC 9773 §4.2; lesson 24).
//!
//! One operator may mark any number: nothing stops working, and it can be undone. So the worker takes the mark's row as
//! it is, too: who edits it has clients renew, and no more.

use super::Worker;
use crate::ceremony::MAX_BULK;
use crate::model::{
    AuditEntry, BulkChoice, CertificateFilter, ExplanationUrl, Problem, ProblemType, ReplacementMark, ReplacementReport, ReplacementTally,
};
use crate::pki::SerialNumber;
use crate::ports::StoreError;

use super::operator::OperatorReply;

/// How many certificates are marked in one transaction. Its audit entry names them all.
const TOGETHER: usize = 250;

/// How many certificates are read at once.
const PAGE: u32 = 1000;

fn unavailable(error: &StoreError) -> Problem {
    tracing::error!(%error, "marks for replacement could not be read or written");
    let hint = "hint: give the same command again; what is marked stays so";
    Problem::new(ProblemType::ServerInternal, format!("the store could not do it: {error} ({hint})"))
}

fn too_many() -> Problem {
    let hint = "hint: narrow the choice, for example by time, and take several steps";
    Problem::new(ProblemType::Malformed, format!("more than {MAX_BULK} certificates are meant ({hint})"))
}

impl Worker {
    /// Marks what the choice means now. Cut off, it is taken up by the same choice again.
    pub(super) async fn mark(
        &self,
        choice: &BulkChoice,
        explanation: Option<&ExplanationUrl>,
        done: &AuditEntry,
    ) -> Result<OperatorReply, Problem> {
        let serials = self.choose(choice).await?;
        let mark = ReplacementMark { at: done.at, explanation: explanation.cloned() };
        let mut marked = 0;
        for group in serials.chunks(TOGETHER) {
            let entry = entry_of(done, group, explanation);
            marked += self.store.mark_for_replacement(&choice.authority, group, &mark, &entry).await.map_err(|e| unavailable(&e))?;
        }
        tracing::info!(authority = %choice.authority, choice = choice.describe(), meant = serials.len(), marked, actor = %done.actor, "certificates are marked for replacement");
        Ok(OperatorReply::ReplacementMarked { meant: serials.len() as u64, marked })
    }

    /// Takes the marks away that the choice means now.
    pub(super) async fn unmark(&self, choice: &BulkChoice, done: &AuditEntry) -> Result<OperatorReply, Problem> {
        let serials = self.marked(choice).await?;
        let mut unmarked = 0;
        for group in serials.chunks(TOGETHER) {
            let entry = entry_of(done, group, None);
            unmarked += self.store.unmark(&choice.authority, group, &entry).await.map_err(|e| unavailable(&e))?;
        }
        tracing::info!(authority = %choice.authority, choice = choice.describe(), unmarked, actor = %done.actor, "certificates are no longer marked for replacement");
        Ok(OperatorReply::ReplacementUnmarked { unmarked })
    }

    /// Of a choice, the certificates that are marked, whatever became of them.
    async fn marked(&self, choice: &BulkChoice) -> Result<Vec<SerialNumber>, Problem> {
        if choice.serials.len() > MAX_BULK {
            return Err(too_many());
        }
        if !choice.serials.is_empty() {
            return Ok(choice.serials.clone());
        }
        let filter = CertificateFilter { authority: Some(choice.authority.clone()), marked: Some(true), ..choice.filter.clone() };
        let mut found: Vec<SerialNumber> = Vec::new();
        loop {
            let page = self.store.certificates(&filter, found.last(), PAGE).await.map_err(|e| unavailable(&e))?;
            if page.is_empty() {
                return Ok(found);
            }
            found.extend(page.iter().map(|c| c.serial));
            if found.len() > MAX_BULK {
                return Err(too_many());
            }
        }
    }

    /// How far the replacement of the marked certificates that a filter lets through has come.
    ///
    /// # Errors
    /// `serverInternal` when the store does not answer.
    pub async fn replacement_report(&self, filter: &CertificateFilter) -> Result<ReplacementReport, Problem> {
        let filter = CertificateFilter { marked: Some(true), ..filter.clone() };
        let now = self.clock.now();
        let mut tally = ReplacementTally::new(now);
        let mut after = None;
        loop {
            let page = self.store.replacements(&filter, after.as_ref(), PAGE, now).await.map_err(|e| unavailable(&e))?;
            let Some(last) = page.last().map(|r| r.record.serial) else { return Ok(tally.report()) };
            after = Some(last);
            page.into_iter().for_each(|replacement| tally.add(replacement));
        }
    }
}

/// What is on record of one transaction.
fn entry_of(done: &AuditEntry, serials: &[SerialNumber], explanation: Option<&ExplanationUrl>) -> AuditEntry {
    AuditEntry { detail: serde_json::json!({ "serials": serials, "explanation": explanation }), ..done.clone() }
}
