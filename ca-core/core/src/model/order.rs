//! Orders (RFC 8555 §7.1.3, §7.1.6).

use serde::{Deserialize, Serialize};

use super::{AccountId, AuthorityName, Authorization, AuthorizationId, AutoRenewal, OrderId, Problem};
use crate::pki::{Identifier, SerialNumber, Timestamp};

/// The state of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderStatus {
    /// Authorizations are missing.
    Pending,
    /// May be finalized.
    Ready,
    /// Finalized; the worker has it.
    Processing,
    /// The certificate is there.
    Valid,
    /// It failed for good, expired or lost an authorization.
    Invalid,
    /// It renewed itself, and was ended early (RFC 8739 §3.1.2).
    Canceled,
}

/// An order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// Whose it is.
    pub account: AccountId,
    /// Which authority issues.
    pub authority: AuthorityName,
    /// In which profile.
    pub profile: String,
    /// For which identifiers, sorted and without duplicates.
    pub identifiers: Vec<Identifier>,
    /// Their authorizations, in the same order.
    pub authorizations: Vec<AuthorizationId>,
    /// Its state.
    pub status: OrderStatus,
    /// When it lapses, if it is not valid by then. One that renews itself: once valid its end date, once canceled when
    /// that was.
    pub expires: Timestamp,
    /// The notBefore asked for.
    pub not_before: Option<Timestamp>,
    /// The notAfter asked for.
    pub not_after: Option<Timestamp>,
    /// Why it is invalid.
    pub error: Option<Problem>,
    /// The certificate, once valid; the newest of an order that renews itself.
    pub serial: Option<SerialNumber>,
    /// The terms on which it renews itself (RFC 8739); none: it has one certificate.
    #[serde(default)]
    pub auto_renewal: Option<AutoRenewal>,
    /// The certificate that it replaces (RFC 9773 §5).
    pub replaces: Option<SerialNumber>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What may happen to an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OrderCommand {
    /// The client finalizes it (RFC 8555 §7.4).
    Finalize,
    /// The worker released its certificate.
    Release(SerialNumber),
    /// It failed for good after finalization.
    Fail(Problem),
    /// The last of its authorizations became valid.
    Authorize,
    /// One of its authorizations failed.
    FailAuthorization(Problem),
    /// One of its authorizations is no longer valid.
    LoseAuthorization,
    /// It is to renew itself no longer.
    Cancel,
    /// Nothing but time passed.
    Tick,
}

/// Why a command does not apply to an order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OrderRejected {
    /// The order is not in the state that the command needs.
    #[error("the order is {0:?}, not ready")]
    NotReady(OrderStatus),
    /// The order is not being processed.
    #[error("the order is {0:?}, not processing")]
    NotProcessing(OrderStatus),
    /// The order does not wait for authorizations.
    #[error("the order is {0:?}, not pending")]
    NotPending(OrderStatus),
    /// The order expired before it was finalized.
    #[error("the order expired")]
    Expired,
    /// The order does not renew itself, or not now.
    #[error("the order is {0:?}, or does not renew itself")]
    NotRenewing(OrderStatus),
}

impl Order {
    /// Applies `command` at `now`; the stores repeat the same transition as compare-and-set.
    ///
    /// # Errors
    /// When the order's state does not allow the command.
    pub fn apply(mut self, command: OrderCommand, now: Timestamp) -> Result<Self, OrderRejected> {
        if matches!(self.status, OrderStatus::Pending | OrderStatus::Ready) && now >= self.expires {
            self.status = OrderStatus::Invalid;
            return if command == OrderCommand::Tick { Ok(self) } else { Err(OrderRejected::Expired) };
        }
        match (command, self.status) {
            (OrderCommand::Finalize, OrderStatus::Ready) => self.status = OrderStatus::Processing,
            (OrderCommand::Finalize, other) => return Err(OrderRejected::NotReady(other)),
            (OrderCommand::Release(serial), OrderStatus::Processing) => {
                self.status = OrderStatus::Valid;
                self.serial = Some(serial);
            }
            (OrderCommand::Fail(problem), OrderStatus::Processing) => {
                self.status = OrderStatus::Invalid;
                self.error = Some(problem);
            }
            (OrderCommand::Release(_) | OrderCommand::Fail(_), other) => {
                return Err(OrderRejected::NotProcessing(other));
            }
            (OrderCommand::Authorize, OrderStatus::Pending) => self.status = OrderStatus::Ready,
            (OrderCommand::FailAuthorization(problem), OrderStatus::Pending) => {
                self.status = OrderStatus::Invalid;
                self.error = Some(problem);
            }
            (OrderCommand::Authorize | OrderCommand::FailAuthorization(_), other) => return Err(OrderRejected::NotPending(other)),
            (OrderCommand::Cancel, OrderStatus::Valid) if self.auto_renewal.is_some() => self.status = OrderStatus::Canceled,
            (OrderCommand::Cancel, other) => return Err(OrderRejected::NotRenewing(other)),
            (OrderCommand::LoseAuthorization, OrderStatus::Pending | OrderStatus::Ready) => self.status = OrderStatus::Invalid,
            (OrderCommand::LoseAuthorization | OrderCommand::Tick, _) => {}
        }
        Ok(self)
    }
}

/// An order to be stored with its authorizations and its evidence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewOrder {
    /// The order.
    pub order: Order,
    /// Its authorizations, in the order of its identifiers. One with challenges is an offer: the store puts one in its
    /// place that the account has already.
    pub authorizations: Vec<Authorization>,
    /// The newOrder JWS, verbatim.
    pub jws: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProblemType;

    fn order(status: OrderStatus) -> Order {
        Order {
            id: OrderId::from_evidence("x", Timestamp::from_unix(0)),
            account: AccountId::from_evidence("x"),
            authority: "demo".parse().unwrap(),
            profile: "client".into(),
            identifiers: vec![Identifier::from_text("a.demo.test").unwrap()],
            authorizations: vec!["x.0".parse().unwrap()],
            status,
            expires: Timestamp::from_unix(100),
            not_before: None,
            not_after: None,
            error: None,
            serial: None,
            auto_renewal: None,
            replaces: None,
            created_at: Timestamp::from_unix(0),
        }
    }

    #[track_caller]
    fn check(from: OrderStatus, command: OrderCommand, at: i64, expected: Result<OrderStatus, OrderRejected>) {
        assert_eq!(order(from).apply(command, Timestamp::from_unix(at)).map(|o| o.status), expected);
    }

    #[test]
    fn transitions() {
        use OrderStatus::{Canceled, Invalid, Pending, Processing, Ready, Valid};
        let serial = SerialNumber::from_der_integer(&[1]).unwrap();
        let problem = Problem::new(ProblemType::ServerInternal, "x");
        check(Ready, OrderCommand::Finalize, 1, Ok(Processing));
        check(Pending, OrderCommand::Finalize, 1, Err(OrderRejected::NotReady(Pending)));
        check(Processing, OrderCommand::Finalize, 1, Err(OrderRejected::NotReady(Processing)));
        check(Valid, OrderCommand::Finalize, 1, Err(OrderRejected::NotReady(Valid)));
        check(Ready, OrderCommand::Finalize, 100, Err(OrderRejected::Expired));
        check(Ready, OrderCommand::Tick, 100, Ok(Invalid));
        check(Processing, OrderCommand::Tick, 1000, Ok(Processing));
        check(Processing, OrderCommand::Release(serial), 1000, Ok(Valid));
        check(Valid, OrderCommand::Release(serial), 1, Err(OrderRejected::NotProcessing(Valid)));
        check(Processing, OrderCommand::Fail(problem.clone()), 1, Ok(Invalid));
        check(Ready, OrderCommand::Fail(problem.clone()), 1, Err(OrderRejected::NotProcessing(Ready)));
        check(Ready, OrderCommand::LoseAuthorization, 1, Ok(Invalid));
        check(Pending, OrderCommand::LoseAuthorization, 1, Ok(Invalid));
        check(Pending, OrderCommand::Authorize, 1, Ok(Ready));
        check(Pending, OrderCommand::Authorize, 100, Err(OrderRejected::Expired));
        check(Pending, OrderCommand::FailAuthorization(problem.clone()), 1, Ok(Invalid));
        for state in [Ready, Processing, Valid, Invalid, Canceled] {
            check(state, OrderCommand::Authorize, 1, Err(OrderRejected::NotPending(state)));
            check(state, OrderCommand::FailAuthorization(problem.clone()), 1, Err(OrderRejected::NotPending(state)));
        }
    }

    /// RFC 8739 §3.1.2: "Issuing a cancellation for an order that is not in valid state is not allowed."
    #[test]
    fn a21_only_a_valid_order_that_renews_itself_is_canceled() {
        use OrderStatus::{Canceled, Invalid, Pending, Processing, Ready, Valid};
        let cancel = |status, renews: bool| {
            let terms = AutoRenewal {
                start_date: None,
                end_date: Timestamp::from_unix(90),
                lifetime: 60,
                lifetime_adjust: 0,
                allow_certificate_get: false,
            };
            let order = Order { auto_renewal: renews.then_some(terms), ..order(status) };
            order.apply(OrderCommand::Cancel, Timestamp::from_unix(1)).map(|o| o.status)
        };
        assert_eq!(cancel(Valid, true), Ok(Canceled));
        assert_eq!(cancel(Valid, false), Err(OrderRejected::NotRenewing(Valid)));
        for state in [Pending, Ready, Processing, Invalid, Canceled] {
            assert_eq!(cancel(state, true), Err(OrderRejected::NotRenewing(state)));
        }
    }
}
