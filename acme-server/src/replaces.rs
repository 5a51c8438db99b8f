//! Orders that replace a certificate (RFC 9773 §5).

use ca_core::model::{AccountId, AuthorityName, CertificateState, Order, OrderCommand, OrderStatus, ProblemType};
use ca_core::pki::{Identifier, SerialNumber};

use crate::front::AcmeServer;
use crate::problem::Refusal;
use crate::renewal_info::CertId;

/// Checks that the certificate is the account's own and shares an identifier with the order, where it has any. Whether it was replaced
/// already is for the store to say, in the transaction that creates the order.
pub(crate) async fn check(
    server: &AcmeServer,
    cert_id: &str,
    account: &AccountId,
    authority: &AuthorityName,
    identifiers: &[Identifier],
) -> Result<SerialNumber, Refusal> {
    let id: CertId = cert_id.parse().map_err(|e| Refusal::malformed(format!("`replaces`: {e}")))?;
    let unknown = || Refusal::malformed("`replaces` names no certificate of this authority");
    let issuer = server.issuers.find(&*server.store, server.clock.now(), |i| i.key_identifier == id.key_identifier).await?;
    if issuer.is_none_or(|issuer| issuer.name != *authority) {
        return Err(unknown());
    }
    let record = server.store.certificate(authority, &id.serial).await?.ok_or_else(unknown)?;
    if record.state != CertificateState::Released {
        return Err(unknown());
    }
    if record.account.as_ref() != Some(account) {
        // Clients that know this answer order again without it, as they must whose account is a new one (cert-manager 1.21, the agent).
        return Err(Refusal::malformed("`replaces` names no certificate of this account (hint: order without it)"));
    }
    // One of a profile that carries none has but its account to share.
    if !record.identifiers.is_empty() && !record.identifiers.iter().any(|i| identifiers.contains(i)) {
        return Err(Refusal::malformed("`replaces`: the order shares no identifier with that certificate"));
    }
    Ok(id.serial)
}

/// The order that replaces the certificate already, if it still waits to be finalized and asks for the same.
pub(crate) async fn identical_or_conflict(server: &AcmeServer, wanted: &Order) -> Result<Order, Refusal> {
    let replaced = || Refusal::new(ProblemType::AlreadyReplaced, "the certificate is being replaced, or was, by another order");
    let Some(serial) = &wanted.replaces else { return Err(replaced()) };
    let record = server.store.certificate(&wanted.authority, serial).await?.ok_or_else(replaced)?;
    let earlier = match &record.replaced_by {
        Some(id) => server.store.order(id).await?.ok_or_else(replaced)?,
        None => return Err(replaced()),
    };
    let earlier = earlier.apply(OrderCommand::Tick, server.clock.now()).map_err(|_| replaced())?;
    let same = earlier.account == wanted.account
        && earlier.identifiers == wanted.identifiers
        && earlier.profile == wanted.profile
        && earlier.not_before == wanted.not_before
        && earlier.not_after == wanted.not_after
        && earlier.auto_renewal == wanted.auto_renewal;
    if same && matches!(earlier.status, OrderStatus::Pending | OrderStatus::Ready) { Ok(earlier) } else { Err(replaced()) }
}

/// The certID of a certificate of `authority`.
pub(crate) async fn cert_id(server: &AcmeServer, authority: &AuthorityName, serial: SerialNumber) -> Result<Option<String>, Refusal> {
    let issuer = server.issuers.find(&*server.store, server.clock.now(), |i| i.name == *authority).await?;
    Ok(issuer.map(|issuer| CertId { key_identifier: issuer.key_identifier.clone(), serial }.to_string()))
}
