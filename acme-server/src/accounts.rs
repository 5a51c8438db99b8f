//! Accounts (RFC 8555 §7.3): creation with an external account binding, update, deactivation.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use ca_core::evidence::eab::Eab;
use ca_core::evidence::jwk::Jwk;
use ca_core::model::{
    Account, AccountId, AccountStatus, Actor, GrantId, GrantRecord, GrantStatus, KeyAsked, NewAccount, Problem, ProblemType, RequestId,
    RequestState,
};
use ca_core::pki::KeyError;
use ca_core::ports::StoreError;
use ca_core::profile::is_same_key;
use http::{StatusCode, header};
use serde_json::{Map, Value, json};

use crate::front::AcmeServer;
use crate::problem::Refusal;
use crate::request::{Id, SelfSigned, Signed, does_not_exist, not_valid};
use crate::routes::{json, with_header};

/// The most contacts of an account, and the most characters of one.
const MAX_CONTACTS: usize = 10;
const MAX_CONTACT: usize = 320;

/// POST /acme/new-account
pub(crate) async fn create(State(server): State<Arc<AcmeServer>>, signed: SelfSigned) -> Result<Response, Refusal> {
    let payload = signed.jws.payload_object()?;
    let only_existing = flag(&payload, "onlyReturnExisting")?;
    let thumbprint = signed.key.thumbprint();
    match server.store.account_by_key(&thumbprint).await? {
        Some(account) if account.status == AccountStatus::Valid => return Ok(answer(&server, StatusCode::OK, &account)),
        Some(account) if account.status == AccountStatus::Pending => {
            // An earlier attempt that this client did not wait for: the same account, once the worker has seen it.
            let request = RequestId::for_account(&account.id);
            return Ok(answer(&server, StatusCode::OK, &settle(&server, request, account).await?));
        }
        Some(account) if account.status == AccountStatus::Deactivated || only_existing => return Err(not_valid(account.status)),
        // The key of a revoked account may be bound again, by the secret of another grant.
        Some(_) | None => {}
    }
    if only_existing {
        return Err(does_not_exist());
    }
    let contact = contacts(&payload)?.unwrap_or_default();
    let agreed = flag(&payload, "termsOfServiceAgreed")?;
    if let Some(terms) = &server.config.terms_of_service
        && !agreed
    {
        return Err(Refusal::new(ProblemType::UserActionRequired, format!("the terms of service must be agreed to: {terms}"))
            .with_header(header::LINK, format!("<{terms}>;rel=\"terms-of-service\""))
            .with_instance(terms));
    }
    server.admit_account_from(signed.address).await?;
    server.account_key_is_free(&signed.key).await?;
    let grant = bound_grant(&server, &payload, &signed).await?;
    server.admit_account_of(&grant).await?;
    let id = AccountId::from_evidence(&signed.text);
    let account = Account {
        id: id.clone(),
        status: AccountStatus::Pending,
        jwk: signed.key.canonical(),
        thumbprint,
        contact,
        terms_of_service_agreed: agreed,
        grant,
        created_at: server.clock.now(),
    };
    let mut audit = server.audit(Actor::Anonymous, "account.request", id.as_str(), id.as_str());
    audit.detail = json!({ "grant": account.grant, "thumbprint": account.thumbprint });
    let new = NewAccount { account, jws: signed.text };
    match server.store.queue_account(&new, &audit).await {
        Ok(request) => {
            let account = settle(&server, request, new.account).await?;
            Ok(answer_with(&server, StatusCode::CREATED, &account, payload.get("externalAccountBinding")))
        }
        Err(StoreError::Conflict(_)) => {
            // Another request with the same key came first.
            let account = server.store.account_by_key(&new.account.thumbprint).await?.ok_or_else(Refusal::unavailable)?;
            let request = RequestId::for_account(&account.id);
            Ok(answer(&server, StatusCode::OK, &settle(&server, request, account).await?))
        }
        Err(error) => Err(error.into()),
    }
}

/// Waits for the worker's word on the binding.
async fn settle(server: &Arc<AcmeServer>, request: RequestId, mut account: Account) -> Result<Account, Refusal> {
    if account.status == AccountStatus::Pending {
        let (server, grant) = (Arc::clone(server), account.grant.clone());
        // A task of its own: the account is counted even where its client hangs up meanwhile.
        let word = tokio::spawn(async move {
            let state = server.store.await_request(&request, server.config.worker_wait).await;
            if matches!(state, Ok(RequestState::Done { .. })) {
                server.count_account_of(&grant).await;
            }
            state
        });
        match word.await.map_err(|_| Refusal::unavailable())?? {
            RequestState::Done { .. } => account.status = AccountStatus::Valid,
            RequestState::Refused { problem } => return Err(problem.into()),
            RequestState::Waiting => return Err(Refusal::unavailable()),
        }
    }
    if account.status != AccountStatus::Valid {
        return Err(not_valid(account.status));
    }
    Ok(account)
}

impl AcmeServer {
    /// Refuses a key that must not become an account's: who else holds it would have the account.
    pub(crate) async fn account_key_is_free(&self, key: &Jwk) -> Result<(), Refusal> {
        let bad = |detail: String| Refusal::new(ProblemType::BadPublicKey, detail);
        let key = key.public_key()?;
        if self.published.has(&key) {
            return Err(bad(format!("{} (hint: make another key)", KeyError::Published)));
        }
        if self.issuers.find(&*self.store, self.clock.now(), |issuer| is_same_key(&issuer.public_key, &key)).await?.is_some() {
            return Err(bad("this key is an authority's (hint: make another key)".to_owned()));
        }
        match self.store.key_use(KeyAsked::whether_blocked(key.spki_sha256())).await?.block {
            Some(block) => Err(bad(block.told().to_owned())),
            None => Ok(()),
        }
    }
}

/// The grant that the binding names, with everything checked but the MAC, which only the worker can.
async fn bound_grant(server: &AcmeServer, payload: &Map<String, Value>, signed: &SelfSigned) -> Result<GrantId, Refusal> {
    let required = |detail: &str| Refusal::new(ProblemType::ExternalAccountRequired, detail);
    let binding = payload.get("externalAccountBinding").filter(|b| !b.is_null());
    let unknown = || {
        Refusal::unauthorized(match binding {
            Some(_) => "the external account binding's key identifier is not that of an enrolment grant in use",
            None => "the grant that enrolment is open to is not in use (hint: the CA's operators can create or resume it)",
        })
    };
    let id = match binding {
        Some(binding) => {
            let eab = Eab::parse(binding.clone())?;
            eab.check(&signed.key, &server.url("/acme/new-account"))?;
            eab.kid().parse::<GrantId>().map_err(|_| unknown())?
        }
        None => server.directories().open_enrolment().cloned().ok_or_else(|| {
            required(
                "accounts are bound to an enrolment grant (hint: give the client the key identifier and the HMAC key of `ca grant create`)",
            )
        })?,
    };
    let record: GrantRecord = server.store.grant(&id).await?.ok_or_else(unknown)?;
    let now = server.clock.now();
    if record.status != GrantStatus::Active || record.grant.valid_until.is_some_and(|until| until <= now) {
        return Err(unknown());
    }
    if record.grant.enrol_by.is_some_and(|until| until <= now) {
        return Err(Refusal::unauthorized("the enrolment grant no longer binds new accounts (hint: ask the CA's operators for another)"));
    }
    if record.grant.max_accounts.is_some_and(|most| record.accounts >= most) {
        return Err(Refusal::unauthorized(
            "the enrolment grant has bound as many accounts as it may (hint: the CA's operators can let it bind one more: ca grant update --max-accounts)",
        ));
    }
    record.grant.limits.judge_address(signed.origin).map_err(Refusal::unauthorized)?;
    Ok(record.grant.id)
}

/// POST /acme/acct/{id}
pub(crate) async fn read_or_update(
    State(server): State<Arc<AcmeServer>>,
    Id(id): Id<AccountId>,
    signed: Signed,
) -> Result<Response, Refusal> {
    own(&signed, &id)?;
    if signed.jws.payload.is_empty() {
        return Ok(answer(&server, StatusCode::OK, &signed.account));
    }
    let payload = signed.jws.payload_object()?;
    let account = match payload.get("status").map(|s| s.as_str()) {
        Some(Some("deactivated")) => {
            let audit = server.audit(signed.actor(), "account.deactivate", id.as_str(), server.correlation());
            server.store.deactivate_account(&id, &audit).await?
        }
        // Clients may echo what they read.
        None | Some(Some("valid")) => match contacts(&payload)? {
            Some(contact) if contact != signed.account.contact => {
                server.admit_change(&id).await?;
                let audit = server.audit(signed.actor(), "account.update", id.as_str(), server.correlation());
                server.store.update_contact(&id, &contact, &audit).await?
            }
            Some(_) | None => signed.account,
        },
        Some(_) => return Err(Refusal::malformed("an account's status may only be changed to \"deactivated\"")),
    };
    Ok(answer(&server, StatusCode::OK, &account))
}

/// Refuses an account URL that is not the signer's own.
pub(crate) fn own(signed: &Signed, id: &AccountId) -> Result<(), Refusal> {
    if signed.account.id == *id { Ok(()) } else { Err(Refusal::unauthorized("this is another account")) }
}

/// An account as clients see it.
pub(crate) fn answer(server: &AcmeServer, status: StatusCode, account: &Account) -> Response {
    answer_with(server, status, account, None)
}

/// The same with the binding that the account was just made with. RFC 8555 §7.3.4: "The account object the CA returns MUST
/// include an "externalAccountBinding" field with the same value as the field in the request."
fn answer_with(server: &AcmeServer, status: StatusCode, account: &Account, binding: Option<&Value>) -> Response {
    let url = server.account_url(&account.id);
    let mut body = json!({
        "status": account.status,
        "contact": account.contact,
        "termsOfServiceAgreed": account.terms_of_service_agreed,
        "orders": format!("{url}/orders"),
    });
    if let Some(binding) = binding.filter(|binding| !binding.is_null()) {
        body["externalAccountBinding"] = binding.clone();
    }
    with_header(json(status, &body), header::LOCATION, &url)
}

fn flag(payload: &Map<String, Value>, name: &str) -> Result<bool, Refusal> {
    match payload.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(Refusal::malformed(format!("`{name}` is not true or false"))),
    }
}

/// The contacts in a payload: `mailto:` URLs of one address without header fields (RFC 8555 §7.3).
fn contacts(payload: &Map<String, Value>) -> Result<Option<Vec<String>>, Problem> {
    let invalid = |detail: String| Problem::new(ProblemType::InvalidContact, detail);
    let list = match payload.get("contact") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(Problem::new(ProblemType::Malformed, "`contact` is not a list")),
    };
    if list.len() > MAX_CONTACTS {
        return Err(invalid(format!("an account has at most {MAX_CONTACTS} contacts")));
    }
    let one = |value: &Value| -> Result<String, Problem> {
        let url = value.as_str().ok_or_else(|| Problem::new(ProblemType::Malformed, "a contact is not a string"))?;
        let Some(address) = url.strip_prefix("mailto:") else {
            return Err(Problem::new(ProblemType::UnsupportedContact, "contacts are mailto: URLs"));
        };
        let plausible = address.len() <= MAX_CONTACT
            && address.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'))
            && address.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b',' | b'?' | b'<' | b'>' | b'"'));
        if plausible { Ok(url.to_owned()) } else { Err(invalid("a contact is not a mailto: URL of exactly one address".to_owned())) }
    };
    list.iter().map(one).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a06_contacts_are_mailto_urls_of_one_address() {
        let check = |contact: Value, expected: Option<ProblemType>| {
            let Value::Object(payload) = json!({ "contact": contact }) else { unreachable!() };
            assert_eq!(contacts(&payload).err().map(|p| p.kind), expected, "{payload:?}");
        };
        check(json!([]), None);
        check(json!(["mailto:ops@bank.test"]), None);
        check(json!(["tel:+491234"]), Some(ProblemType::UnsupportedContact));
        for bad in ["mailto:", "mailto:@", "mailto:a@b,c@d", "mailto:a@b?subject=x", "mailto:a@b c", "mailto:a@b@c"] {
            check(json!([bad]), Some(ProblemType::InvalidContact));
        }
        check(json!("mailto:a@b"), Some(ProblemType::Malformed));
        check(json!([1]), Some(ProblemType::Malformed));
        check(json!(vec!["mailto:a@b"; 11]), Some(ProblemType::InvalidContact));
    }
}
