//! What no longer changes, kept in memory: certificates once released, and orders once valid. A client that has
//! finalized reads both again at once. And orders as this server made them, for their finalization, where the store
//! compares the state again.

use std::sync::{Arc, Mutex, PoisonError};

use ca_core::evidence::memo::Memo;
use ca_core::model::{AccountId, AuthorityName, CertificateState, Issued, Order, OrderId, OrderStatus};
use ca_core::pki::{SerialNumber, x5t_s256};
use ca_core::ports::{FrontStore, StoreResult};
use serde_json::{Value, json};

/// The most certificates, and the most orders, that are kept.
const MOST: usize = 4096;

/// A certificate that was released; whether it was revoked since is not said here.
pub(crate) struct Released {
    pub(crate) account: Option<AccountId>,
    pub(crate) der: Vec<u8>,
    /// What token servers bind to (RFC 8705): the subject's RFC 4514 text and the thumbprint.
    pub(crate) issued: Value,
}

impl Released {
    fn new(account: Option<AccountId>, certificate: Issued) -> Self {
        let Issued { serial, subject, der } = certificate;
        Self { account, issued: json!({ "serial": serial, "subject": subject, "x5t#S256": x5t_s256(&der) }), der }
    }
}

/// The memory.
pub(crate) struct Settled {
    certificates: Mutex<Memo<(AuthorityName, SerialNumber), Arc<Released>>>,
    orders: Mutex<Memo<OrderId, Order>>,
    young: Mutex<Memo<OrderId, Order>>,
}

impl Default for Settled {
    fn default() -> Self {
        Self { certificates: Mutex::new(Memo::new(MOST)), orders: Mutex::new(Memo::new(MOST)), young: Mutex::new(Memo::new(MOST)) }
    }
}

impl Settled {
    /// A certificate, if it was released.
    pub(crate) async fn certificate(
        &self,
        store: &dyn FrontStore,
        authority: &AuthorityName,
        serial: &SerialNumber,
    ) -> StoreResult<Option<Arc<Released>>> {
        let key = (authority.clone(), *serial);
        let kept = || self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept().get(&key) {
            return Ok(Some(Arc::clone(found)));
        }
        let record = store.certificate(authority, serial).await?;
        let released = record.filter(|record| record.state == CertificateState::Released).map(|record| {
            let issued = Issued { serial: record.serial, subject: record.subject, der: record.der };
            self.keep_certificate(authority, record.account, issued)
        });
        Ok(released)
    }

    fn keep_certificate(&self, authority: &AuthorityName, account: Option<AccountId>, issued: Issued) -> Arc<Released> {
        let key = (authority.clone(), issued.serial);
        let released = Arc::new(Released::new(account, issued));
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&released));
        released
    }

    /// Keeps a valid order with the certificate that it has just got.
    pub(crate) fn keep_issued(&self, order: &Order, issued: Issued) {
        self.keep_certificate(&order.authority, Some(order.account.clone()), issued);
        self.keep(order);
    }

    /// An order, as it is now.
    pub(crate) async fn order(&self, store: &dyn FrontStore, id: &OrderId) -> StoreResult<Option<Order>> {
        let kept = || self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept().get(id) {
            return Ok(Some(found.clone()));
        }
        let order = store.order(id).await?;
        if let Some(order) = &order {
            self.keep(order);
        }
        Ok(order)
    }

    /// Keeps an order that is ready or valid. One that renews itself goes on to change.
    pub(crate) fn keep(&self, order: &Order) {
        let memory = match order.status {
            _ if order.auto_renewal.is_some() => return,
            OrderStatus::Valid => &self.orders,
            OrderStatus::Ready => &self.young,
            _ => return,
        };
        memory.lock().unwrap_or_else(PoisonError::into_inner).insert(order.id.clone(), order.clone());
    }

    /// An order that was ready when last seen; it may have changed since.
    pub(crate) fn young(&self, id: &OrderId) -> Option<Order> {
        self.young.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}
