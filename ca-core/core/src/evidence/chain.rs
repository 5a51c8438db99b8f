//! From a request's evidence, verbatim, to what may be issued: the worker's own judgement.
//!
//! Nothing here reads the database or believes the front end. The chain: an operator whose policy entry permits it
//! signed the grant; the grant's secret binds the account's key (newAccount with its external account binding), unless
//! the officers opened enrolment to a grant that authorizes no name; each
//! keyChange was signed by the key before; the account's id is the hash of its newAccount JWS and stands in every
//! later `kid`; the order's id is the hash of its newOrder JWS and stands in the finalize JWS's `url`; that JWS, by
//! the key that the account had when the store took it in, carries the CSR. Who edits a row breaks a signature, a MAC or
//! a hash; how many key changes came first is the store's count, which no front end can set.
//!
//! Identifiers outside the grant rest on the front end's word that it validated them, in zones of the policy only
//! ([`super::proofs`]).
//!
//! Deliberately absent: whether the grant was revoked meanwhile, which only the store can tell; whether its statement is
//! the newest, which is the anchor's to say; rates; times of certificates.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::jwk::Jwk;
use super::jws::{KeyRef, ParsedJws};
use super::memo::Memo;
use super::new_order::{NewOrderRequest, OrderScope};
use super::proofs::{Proof, Proofs};
use super::verified::VerifiedSignatures;
use super::{attested, csr_names, eab, grant, json, proofs};
use crate::anchor::GrantPlace;
use crate::model::{
    Account, AccountId, AuthorityName, AutoRenewal, Evidence, Fault, Grant, GrantId, GrantLimits, NewAccount, OrderId, Problem, ProblemType,
};
use crate::pki::{Certificate, Csr, Identifier, KeyAlgorithm, PublicKey, Sha256Digest, Sha256OfParts, Timestamp};
use crate::policy::{Policy, ProfilePolicy, SubscriberError, leaf_content};
use crate::ports::EabSecrets;
use crate::profile::{LeafContent, check_key};
use crate::validation::attestation::AttestationCrls;

/// How many keys the remembered evidence of accounts has: most accounts have one.
const MEMO: usize = 8192;

/// The most key changes of one account that are followed.
pub const MAX_KEY_CHANGES: usize = 1000;

/// The most octets of one key change, as the front end takes it in: one from one key of RSA-4096 to another has 6 KiB.
pub const MAX_KEY_CHANGE: usize = 16 * 1024;

/// The most octets of an account's key changes together, which the store keeps to: the worker reads them all with each request
/// of the account. About 90 from one key of RSA-4096 to another, and 350 of P-256.
pub const MAX_KEY_CHANGES_OCTETS: usize = 512 * 1024;

/// The most versions of a grant's secret: as many are tried for an account, the newest first, so that no rotation cuts off
/// what an earlier secret bound. Each costs two MACs, and an account that was verified is remembered.
pub const MAX_SECRETS: u32 = 10_000;

/// A refusal for good: what the client is told, and the cause as the audit trail keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// For the client.
    pub problem: Problem,
    /// For the operator.
    pub cause: String,
    /// Whose doing it is.
    pub fault: Fault,
}

impl Refusal {
    /// A refusal whose cause the client may know.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { cause: detail.clone(), problem: Problem::new(kind, detail), fault: Fault::of(kind) }
    }

    /// What was allowed when the client asked is not allowed any more.
    pub fn changed(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self { fault: Fault::Change, ..Self::new(kind, detail) }
    }

    /// The grant is good for nothing until operators let it go on.
    pub fn resting_grant(detail: &str) -> Self {
        Self { fault: Fault::Rest, ..Self::new(ProblemType::Unauthorized, detail) }
    }

    /// The grant is as it was signed, and its signer may sign none any more: another operator can.
    pub fn grant_without_signer(grant: &GrantId, why: &str) -> Self {
        let detail = "the operator who signed the enrolment grant is one no longer (hint: another of the CA's operators can sign it anew)";
        Self { cause: format!("grant `{grant}` has lost its signer: {why} (hint: ca grant sign {grant})"), ..Self::resting_grant(detail) }
    }

    /// The grant does not hold; why not is the operators' to know.
    pub fn unverified_grant(cause: impl Into<String>) -> Self {
        let detail = "the enrolment grant behind this account could not be verified (hint: ask the CA's operators)";
        Self { cause: cause.into(), ..Self::new(ProblemType::Unauthorized, detail) }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { cause: problem.detail.clone(), fault: Fault::of(problem.kind), problem }
    }
}

/// An account whose evidence holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorizedAccount {
    /// Its id, from its newAccount JWS.
    pub account: AccountId,
    /// The grant that it is bound to, as an operator signed it.
    pub grant: Grant,
    /// The place of the statement that the grant is read from.
    pub place: GrantPlace,
    /// The version of the grant's secret that bound it.
    pub secret: u32,
    /// Its keys, the current one last.
    pub keys: Vec<Jwk>,
}

impl AuthorizedAccount {
    /// The one key that was the account's after so many changes (RFC 8555 §7.3.5). The store counted them in the transaction
    /// that took the request in, so that a front end gets nothing for a key of before; none: the current key.
    fn key_then(&self, changes: Option<u32>) -> Result<&[Jwk], Refusal> {
        let last = self.keys.len().saturating_sub(1);
        let index = changes.map_or(last, |changes| changes as usize);
        self.keys.get(index..=index).ok_or_else(|| unauthorized("the request was made by a key that the account has not had yet"))
    }
}

/// What may be issued, proven.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorizedIssuance {
    /// The account.
    pub account: AccountId,
    /// The account's current key.
    pub account_key: Jwk,
    /// The grant.
    pub grant: GrantId,
    /// The place of the statement that the grant is read from.
    pub place: GrantPlace,
    /// What bounds the grant.
    pub limits: GrantLimits,
    /// The order, from its newOrder JWS.
    pub order: OrderId,
    /// The authority that issues.
    pub authority: AuthorityName,
    /// The profile, on offer at that authority.
    pub profile: String,
    /// The names, inside the policy.
    pub identifiers: Vec<Identifier>,
    /// Why each of them may be certified.
    pub proofs: Proofs,
    /// What the certificate says: from policy, grant and order alone.
    pub content: LeafContent,
    /// The key from the CSR.
    pub public_key: PublicKey,
    /// The notBefore asked for.
    pub not_before: Option<Timestamp>,
    /// The notAfter asked for.
    pub not_after: Option<Timestamp>,
    /// The terms on which the order renews itself, inside the policy.
    pub auto_renewal: Option<AutoRenewal>,
}

/// Who may have signed a finalize request.
#[derive(Clone, Copy)]
enum FinalizedBy {
    /// The key that the account had when the request was taken in.
    KeyThen,
    /// Any key that the account has had.
    Any,
}

/// Verifies evidence; remembers, by hash, what it verified of accounts.
pub struct Verifier {
    accounts: Mutex<Memo<Sha256Digest, Arc<AuthorizedAccount>>>,
    verified: Arc<VerifiedSignatures>,
    crls: RwLock<Arc<AttestationCrls>>,
}

impl Default for Verifier {
    fn default() -> Self {
        Self { accounts: Mutex::new(Memo::weighing(MEMO, |account| account.keys.len())), verified: Arc::default(), crls: RwLock::default() }
    }
}

fn malformed(detail: &str) -> Refusal {
    Refusal::new(ProblemType::Malformed, detail)
}

fn unauthorized(detail: &str) -> Refusal {
    Refusal::new(ProblemType::Unauthorized, detail)
}

impl Verifier {
    /// Holds what devices attest against these CRLs from now on.
    pub fn set_attestation_crls(&self, crls: Arc<AttestationCrls>) {
        *self.crls.write().unwrap_or_else(PoisonError::into_inner) = crls;
    }

    /// Those in use.
    pub fn attestation_crls(&self) -> Arc<AttestationCrls> {
        Arc::clone(&self.crls.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The signatures that it has verified.
    pub(crate) const fn signatures(&self) -> &Arc<VerifiedSignatures> {
        &self.verified
    }

    /// Verifies that the account may exist: for a newAccount request.
    ///
    /// # Errors
    /// The refusal, for good.
    pub fn verify_account(
        &self,
        evidence: &Evidence,
        policy: &Policy,
        secrets: &dyn EabSecrets,
        now: Timestamp,
    ) -> Result<Arc<AuthorizedAccount>, Refusal> {
        let account = self.account(evidence, policy, secrets, now)?;
        if account.grant.enrol_by.is_some_and(|end| now >= end) {
            return Err(unauthorized("the enrolment grant no longer binds new accounts"));
        }
        if account.secret != account.grant.version {
            return Err(unauthorized("the grant's secret was rotated (hint: ask the CA's operators for the new one)"));
        }
        Ok(account)
    }

    /// Verifies that a certificate may be issued, and which: for a finalize request. `told` is the profile that the client was
    /// told, which nobody signed; it can only have the order refused.
    ///
    /// # Errors
    /// The refusal, for good.
    pub fn verify_finalize(
        &self,
        evidence: &Evidence,
        told: &str,
        policy: &Policy,
        secrets: &dyn EabSecrets,
        now: Timestamp,
    ) -> Result<AuthorizedIssuance, Refusal> {
        self.verify_order(evidence, told, policy, secrets, now, FinalizedBy::KeyThen)
    }

    /// Verifies, as with the first one, that an order that renews itself may have its next certificate. The account's key
    /// may have changed since it was finalized: what binds the renewal to that moment is the certificate that stands,
    /// which the caller knows to be the authority's own (lesson 19). `told` is as there.
    ///
    /// # Errors
    /// The refusal, for good.
    pub fn verify_renewal(
        &self,
        evidence: &Evidence,
        told: &str,
        standing: &Certificate,
        policy: &Policy,
        secrets: &dyn EabSecrets,
        now: Timestamp,
    ) -> Result<(AuthorizedIssuance, AutoRenewal), Refusal> {
        let proven = self.verify_order(evidence, told, policy, secrets, now, FinalizedBy::Any)?;
        if *standing.public_key() != proven.public_key {
            return Err(unauthorized("the order's last certificate has another key than its finalize request"));
        }
        let terms = proven.auto_renewal.clone().ok_or_else(|| unauthorized("the order does not renew itself"))?;
        Ok((proven, terms))
    }

    fn verify_order(
        &self,
        evidence: &Evidence,
        told: &str,
        policy: &Policy,
        secrets: &dyn EabSecrets,
        now: Timestamp,
        finalized_by: FinalizedBy,
    ) -> Result<AuthorizedIssuance, Refusal> {
        let account = self.account(evidence, policy, secrets, now)?;
        let (Some(new_order), Some(finalize)) = (&evidence.new_order, &evidence.finalize) else {
            return Err(malformed("the order's evidence is incomplete"));
        };
        let (request, scope) = read_new_order(new_order, &account, &self.verified)?;
        let keys = match finalized_by {
            FinalizedBy::KeyThen => account.key_then(evidence.finalized_after)?,
            FinalizedBy::Any => &account.keys,
        };
        let (order, csr) = read_finalize(finalize, keys, &account.account, new_order, &self.verified)?;

        let grant = &account.grant;
        let authority = scope.authority.clone().unwrap_or_else(|| grant.authority.clone());
        if authority != grant.authority {
            return Err(unauthorized("the enrolment grant is for another authority"));
        }
        let profile = request.profile(&scope, grant)?.to_owned();
        is_as_told(&profile, told)?;
        let rules = policy.authority(&authority).ok_or_else(|| unauthorized("the policy does not name this authority"))?;
        let offered = rules.profiles.get(&profile);
        let offered = offered.ok_or_else(|| Refusal::new(ProblemType::InvalidProfile, "the policy does not offer this profile"))?;
        let proofs = proofs::prove(&request.identifiers, &account.account, grant, rules, &evidence.validations, now)?;
        if let Some(terms) = &request.auto_renewal {
            check_terms(terms, &profile, offered, &proofs, &grant.limits, now)?;
        }
        attested::check(&proofs, rules, &account, csr.public_key(), now, &self.attestation_crls(), &self.verified)?;
        let algorithm = check_csr(&csr, &request.identifiers, &account)?;
        if !offered.takes_key(algorithm) {
            return Err(Refusal::changed(
                ProblemType::BadCsr,
                format!("the profile `{profile}` certifies no keys of the kind {algorithm}"),
            ));
        }
        grant.limits.judge_key(algorithm).map_err(|told| Refusal::changed(ProblemType::BadCsr, told))?;
        let end = grant.limits.judge_end(request.not_before, request.not_after, now);
        end.map_err(|told| Refusal::new(ProblemType::Malformed, told))?;
        let content = leaf_content(rules, offered, grant, &request.identifiers).map_err(|error| {
            let kind = match error {
                SubscriberError::Identifier(..) => ProblemType::RejectedIdentifier,
                SubscriberError::Grant(_) => ProblemType::Unauthorized,
            };
            Refusal::new(kind, error.to_string())
        })?;
        csr_names::check_content(&csr, &content).map_err(|why| Refusal::new(ProblemType::BadCsr, why))?;
        Ok(AuthorizedIssuance {
            account: account.account.clone(),
            account_key: account.keys.last().expect("an account begins with a key").clone(),
            grant: grant.id.clone(),
            place: account.place,
            limits: grant.limits.clone(),
            order,
            authority,
            profile,
            identifiers: request.identifiers,
            proofs,
            content,
            public_key: csr.public_key().clone(),
            not_before: request.not_before,
            not_after: request.not_after,
            auto_renewal: request.auto_renewal,
        })
    }

    fn account(
        &self,
        evidence: &Evidence,
        policy: &Policy,
        secrets: &dyn EabSecrets,
        now: Timestamp,
    ) -> Result<Arc<AuthorizedAccount>, Refusal> {
        let key = memo_key(evidence, policy);
        let lock = || self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(&key).cloned();
        let account = match known {
            Some(account) => account,
            None => {
                let account = Arc::new(verify_identity(evidence, policy, secrets, &self.verified)?);
                lock().insert(key, Arc::clone(&account));
                account
            }
        };
        // What depends on the time is never remembered.
        if account.grant.valid_until.is_some_and(|end| now >= end) {
            return Err(Refusal::resting_grant("the enrolment grant has expired (hint: the CA's operators can extend it)"));
        }
        Ok(account)
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

/// A hash over everything that [`verify_identity`] reads, each part behind its length. The secret is a function of
/// the grant.
fn memo_key(evidence: &Evidence, policy: &Policy) -> Sha256Digest {
    let mut digest = Sha256OfParts::new();
    let mut part = |text: &str| digest.part(text);
    for operator in &policy.operators {
        part(&operator.name);
        part(&operator.key);
        part(&format!("{:?}", operator.may));
    }
    part("");
    for authority in &policy.authorities {
        if let Some(grant) = &authority.open_enrolment {
            part(authority.name.as_str());
            part(grant.as_str());
        }
    }
    part("");
    if let Some(grant) = &evidence.grant {
        part(&grant.statement);
        part(&grant.signature);
    }
    part("");
    part(&evidence.new_account);
    evidence.key_changes.iter().for_each(|jws| part(jws));
    digest.finish()
}

fn verify_identity(
    evidence: &Evidence,
    policy: &Policy,
    secrets: &dyn EabSecrets,
    verified: &VerifiedSignatures,
) -> Result<AuthorizedAccount, Refusal> {
    let (grant, place) = read_grant(evidence, policy)?;
    let account = AccountId::from_evidence(&evidence.new_account);
    let is_open = policy.authority(&grant.authority).is_some_and(|rules| rules.is_open(&grant));
    let (first, secret) = read_new_account(&evidence.new_account, &grant, is_open, secrets)?;
    if evidence.key_changes.len() > MAX_KEY_CHANGES {
        return Err(unauthorized("the account's key was changed too often (hint: make a new account)"));
    }
    let mut keys = vec![first];
    for jws in &evidence.key_changes {
        let next = read_key_change(jws, keys.last().expect("it begins with one"), &account, verified)?;
        keys.push(next);
    }
    Ok(AuthorizedAccount { account, grant, place, secret, keys })
}

fn read_grant(evidence: &Evidence, policy: &Policy) -> Result<(Grant, GrantPlace), Refusal> {
    let signed = evidence.grant.as_ref().ok_or_else(|| unauthorized("the enrolment grant behind this account is gone"))?;
    grant::read_grant(signed, policy).map_err(|e| Refusal::unverified_grant(e.to_string()))
}

/// The account's first key, and the version of the secret that bound it: a rotation leaves accounts as they are.
fn read_new_account(text: &str, grant: &Grant, is_open: bool, secrets: &dyn EabSecrets) -> Result<(Jwk, u32), Refusal> {
    let (jws, key) = read_first_key(text)?;
    let key = &key;
    let payload = jws.payload_object()?;
    if is_open && payload.get("externalAccountBinding").is_none_or(Value::is_null) {
        return Ok((key.clone(), grant.version));
    }
    let binding = eab::parse_binding(&Value::Object(payload))
        .ok_or_else(|| Refusal::new(ProblemType::ExternalAccountRequired, "the account has no external account binding"))?;
    if binding.kid() != grant.id.as_str() {
        return Err(unauthorized("the account was bound to another enrolment grant"));
    }
    let verify = |version| binding.verify(&secrets.eab_secret(&grant.id, version), key, &jws.protected.url);
    let Err(refused) = verify(grant.version) else { return Ok((key.clone(), grant.version)) };
    let earlier = (1..grant.version).rev().take(MAX_SECRETS as usize).find(|version| verify(*version).is_ok());
    earlier.map(|version| (key.clone(), version)).ok_or_else(|| refused.into())
}

/// A newAccount request and the key that it carries, which signed it.
fn read_first_key(text: &str) -> Result<(ParsedJws, Jwk), Refusal> {
    let jws = ParsedJws::parse(text)?;
    let KeyRef::Jwk(key) = &jws.protected.key else { return Err(malformed("a newAccount request carries its key: jwk, not kid")) };
    jws.verify(key)?;
    if path_of(&jws.protected.url) != Some("/acme/new-account") {
        return Err(malformed("the newAccount request was made for another URL"));
    }
    let key = key.clone();
    Ok((jws, key))
}

/// Verifies that a new account is the one that its newAccount request makes, and has the key that signed it: what the store
/// asks before it keeps one. Whether the account may exist is [`Verifier::verify_account`]'s to say.
///
/// # Errors
/// When the request is another's, or was not signed by the key beside it (RFC 8555 §7.3).
pub fn check_new_account(new: &NewAccount) -> Result<(), Refusal> {
    let (_, key) = read_first_key(&new.jws)?;
    if new.account.id != AccountId::from_evidence(&new.jws) {
        return Err(unauthorized("the newAccount request is another account's"));
    }
    is_told(&key, &new.account.jwk, &new.account.thumbprint)
}

/// Verifies that the holders of both keys want the key `jwk` with this RFC 7638 thumbprint in the place of the account's: what
/// the store asks before it puts it there. Else whoever has the front end's process would give accounts its own keys, and
/// revoke with them.
///
/// # Errors
/// When the request is another account's, or was not signed by the account's key and by the new one (RFC 8555 §7.3.5).
pub fn check_key_change(text: &str, account: &Account, jwk: &str, thumbprint: &str) -> Result<(), Refusal> {
    let new = read_key_change(text, &Jwk::parse(&account.jwk)?, &account.id, &VerifiedSignatures::default())?;
    is_told(&new, jwk, thumbprint)
}

/// That a verified key is the one that the front end tells.
fn is_told(key: &Jwk, jwk: &str, thumbprint: &str) -> Result<(), Refusal> {
    if key.canonical() == jwk && key.thumbprint() == thumbprint {
        Ok(())
    } else {
        Err(unauthorized("the request was signed by another key than the one told beside it"))
    }
}

/// RFC 8555 §7.3.5: the outer JWS by the old key, the inner one by the new.
fn read_key_change(text: &str, old: &Jwk, account: &AccountId, verified: &VerifiedSignatures) -> Result<Jwk, Refusal> {
    let (outer, _) = by_account(text, std::slice::from_ref(old), account, verified)?;
    let inner = ParsedJws::from_value(json::parse(&outer.payload).map_err(|e| malformed(&e.to_string()))?)?;
    let KeyRef::Jwk(new) = &inner.protected.key else { return Err(malformed("a keyChange's inner JWS carries the new key")) };
    inner.verify(new)?;
    let same_url = inner.protected.url == outer.protected.url && path_of(&outer.protected.url) == Some("/acme/key-change");
    let KeyRef::Kid(kid) = &outer.protected.key else { return Err(malformed("a keyChange names its account by kid")) };
    let request = inner.payload_object()?;
    let same_account = request.get("account").and_then(Value::as_str) == Some(kid);
    let same_key = request.get("oldKey").map(Jwk::from_value).transpose()?.as_ref() == Some(old);
    if same_url && same_account && same_key && inner.protected.nonce.is_none() {
        Ok(new.clone())
    } else {
        Err(malformed("a keyChange is for another URL, account or key"))
    }
}

/// A JWS by one of these keys, whose `kid` is this account's URL; and which of them signed it.
pub(super) fn by_account<'a>(
    text: &str,
    keys: &'a [Jwk],
    account: &AccountId,
    verified: &VerifiedSignatures,
) -> Result<(ParsedJws, &'a Jwk), Refusal> {
    let jws = ParsedJws::parse(text)?;
    let KeyRef::Kid(kid) = &jws.protected.key else { return Err(malformed("the request names its account by kid")) };
    if path_of(kid).and_then(|p| p.strip_prefix("/acme/acct/")) != Some(account.as_str()) {
        return Err(unauthorized("the request was signed for another account"));
    }
    // The current key first: it is nearly always the one.
    let signer = keys.iter().rev().find(|key| verified.jws(&jws, key).is_ok());
    let signer = signer.ok_or_else(|| unauthorized("the account's key did not sign this request"))?;
    Ok((jws, signer))
}

fn read_new_order(
    text: &str,
    account: &AuthorizedAccount,
    verified: &VerifiedSignatures,
) -> Result<(NewOrderRequest, OrderScope), Refusal> {
    // By any key that the account has had: the finalize JWS names this very text by its hash.
    let (jws, _) = by_account(text, &account.keys, &account.account, verified)?;
    let scope = path_of(&jws.protected.url)
        .and_then(OrderScope::of_path)
        .ok_or_else(|| malformed("the newOrder request was made for another URL"))?;
    Ok((NewOrderRequest::parse(&jws)?, scope))
}

/// An order that asks for no profile is for the first one of its grant, and operators may have put another there since.
fn is_as_told(profile: &str, told: &str) -> Result<(), Refusal> {
    if profile == told {
        return Ok(());
    }
    let detail = format!(
        "the order was made for the profile `{told}`, and its grant gives `{profile}` now where none is asked for (hint: order again, and \
         name the profile)"
    );
    Err(Refusal::changed(ProblemType::InvalidProfile, detail))
}

/// An order renews itself where the profile lets it, and only for what its grant covers: no validation lasts as long.
fn check_terms(
    terms: &AutoRenewal,
    profile: &str,
    offered: &ProfilePolicy,
    proofs: &Proofs,
    limits: &GrantLimits,
    now: Timestamp,
) -> Result<(), Refusal> {
    let bounds = offered.star_bounds().ok_or_else(|| malformed(&format!("orders of the profile `{profile}` do not renew themselves")))?;
    bounds.under(limits).judge(terms, now).map_err(|detail| Refusal::new(ProblemType::Malformed, detail))?;
    match proofs.iter().find(|(_, proof)| !matches!(proof, Proof::Granted)) {
        None => Ok(()),
        Some((identifier, _)) => Err(Refusal::new(
            ProblemType::RejectedIdentifier,
            format!("`{identifier}` is outside the enrolment grant: orders renew themselves for what it covers only"),
        )),
    }
}

/// The order and the CSR of a finalize request for what this newOrder JWS asks for.
fn read_finalize(
    text: &str,
    keys: &[Jwk],
    account: &AccountId,
    new_order: &str,
    verified: &VerifiedSignatures,
) -> Result<(OrderId, Csr), Refusal> {
    let (jws, _) = by_account(text, keys, account, verified)?;
    let order = path_of(&jws.protected.url).and_then(|path| path.strip_prefix("/acme/order/")?.strip_suffix("/finalize")?.parse().ok());
    let order = order.filter(|order: &OrderId| order.is_from_evidence(new_order));
    let order = order.ok_or_else(|| unauthorized("the finalize request was made for another order"))?;
    let payload = jws.payload_object()?;
    let csr = payload.get("csr").and_then(Value::as_str).ok_or_else(|| malformed("the finalize request has no csr"))?;
    let bad = |detail: String| Refusal::new(ProblemType::BadCsr, detail);
    let der = URL_SAFE_NO_PAD.decode(csr).map_err(|_| bad("the CSR is not unpadded base64url".to_owned()))?;
    let csr = verified.csr(&der).map_err(|e| bad(e.to_string()))?;
    Ok((order, csr))
}

fn check_csr(csr: &Csr, identifiers: &[Identifier], account: &AuthorizedAccount) -> Result<KeyAlgorithm, Refusal> {
    let bad = |detail: &str| Refusal::new(ProblemType::BadCsr, detail);
    csr_names::check_names(csr, identifiers, &account.grant).map_err(|why| bad(&why))?;
    let algorithm = check_key(csr.public_key()).map_err(|e| bad(&e.to_string()))?;
    // RFC 8555 §11.1: an account key must not be certified.
    for key in &account.keys {
        if key.public_key()? == *csr.public_key() {
            return Err(bad("the CSR is for the account's own key (hint: make another key for the certificate)"));
        }
    }
    Ok(algorithm)
}

/// The path of an absolute http URL without query and fragment.
pub(super) fn path_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let path = &rest[rest.find('/')?..];
    (!path.contains(['?', '#'])).then_some(path)
}
