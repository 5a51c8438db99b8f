//! The closed loop: clients that order one certificate after the other, with the ACME library as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CertificateSigningRequest, DistinguishedName, KeyPair};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::process::{cpu_seconds, now};
use crate::responder::Responder;

/// Clients that order at the same time: as many as keep both cores busy.
pub(crate) const CLIENTS: usize = 64;

/// A runtime for the clients. One thread: the cores are the server's as well, and a second one would cost both.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// How a client asks again: the default's quarter of a second would be most of what is measured.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// What certificates are ordered for.
#[derive(Clone)]
pub(crate) enum Names {
    /// This name, which a grant covers.
    Granted(String),
    /// A name right below this one that nobody had yet, proven by http-01.
    Challenged(String, Responder),
}

impl Names {
    fn next(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        match self {
            Self::Granted(name) => name.clone(),
            Self::Challenged(zone, _) => format!("host-{}.{zone}", NEXT.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Brings an order to where it can be finalized.
    async fn prove(&self, order: &mut Order) {
        let Self::Challenged(_, responder) = self else { return };
        let mut tokens = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.expect("an authorization");
            assert_eq!(authorization.status, AuthorizationStatus::Pending, "a new name is not proven yet");
            let mut challenge = authorization.challenge(ChallengeType::Http01).expect("http-01 is offered");
            responder.publish(&challenge.token, challenge.key_authorization().as_str());
            tokens.push(challenge.token.clone());
            challenge.set_ready().await.expect("the challenge is taken up");
        }
        // A validation takes the CA requests of its own: to ask sooner would load it with answers that say nothing new.
        assert_eq!(
            order.poll_ready(&RetryPolicy::default().initial_delay(AGAIN_AFTER)).await.expect("the order's state"),
            OrderStatus::Ready
        );
        for token in tokens {
            responder.withdraw(&token);
        }
    }
}

/// How long clients order.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) span: Duration,
    /// Of all clients together.
    pub(crate) orders: u64,
    /// In which time each client orders one; none: as soon as it has the one before.
    pub(crate) pace: Option<Duration>,
}

impl Limits {
    pub(crate) const fn span(span: Duration) -> Self {
        Self { span, orders: u64::MAX, pace: None }
    }
}

/// Clients with an account and a connection each.
pub(crate) struct Clients {
    accounts: Vec<Account>,
    /// What they were made of.
    client: Client,
}

impl Clients {
    /// [`CLIENTS`] of them, who trust what stands in a bundle.
    pub(crate) async fn enrol(bundle: &str, account: impl AsyncFn(AccountBuilder) -> Result<Account, Error>) -> Self {
        let client = Client::trusting(bundle.as_ref());
        let mut accounts = Vec::new();
        for _ in 0..CLIENTS {
            let builder = Account::builder_with_http(Box::new(client.another()));
            accounts.push(account(builder).await.expect("the account is accepted"));
        }
        Self { accounts, client }
    }

    /// Orders until a limit is reached; each client ends what it has begun.
    pub(crate) async fn order(&self, names: &Names, limits: Limits) -> Load {
        let (begun, cpu, requests) = (now(), cpu_seconds(std::process::id()), self.client.requests());
        let count = Arc::new(AtomicU64::new(0));
        let tasks: JoinSet<_> = (0u32..)
            .zip(&self.accounts)
            .map(|(index, account)| {
                // Paced clients take turns.
                let first = begun + limits.pace.map_or(Duration::ZERO, |pace| pace * index / CLIENTS as u32);
                one_after_the_other(account.clone(), names.clone(), limits, Arc::clone(&count), begun, first)
            })
            .collect();
        let mut finalized: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
        finalized.sort_unstable();
        Load {
            finalized,
            seconds: begun.elapsed().as_secs_f64(),
            cpu: cpu_seconds(std::process::id()) - cpu,
            requests: self.client.requests() - requests,
        }
    }
}

/// One client's orders; gives how long each finalize took.
async fn one_after_the_other(
    account: Account,
    names: Names,
    limits: Limits,
    count: Arc<AtomicU64>,
    begun: Instant,
    mut next: Instant,
) -> Vec<Duration> {
    let mut took = Vec::new();
    while begun.elapsed() < limits.span && count.fetch_add(1, Ordering::Relaxed) < limits.orders {
        if let Some(pace) = limits.pace {
            tokio::time::sleep_until(next.into()).await;
            next += pace;
        }
        let name = names.next();
        let identifiers = [Identifier::Dns(name.clone())];
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await.expect("an order");
        names.prove(&mut order).await;
        let csr = request_for(&name);
        let asked = now();
        order.finalize_csr(csr.der()).await.expect("finalized");
        took.push(asked.elapsed());
        // Most often the answer already says that the order is valid; then nothing but the certificate is asked for.
        while order.certificate().await.expect("a valid order").is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    took
}

/// A certification request for a name, with a new key.
fn request_for(name: &str) -> CertificateSigningRequest {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    params.distinguished_name = DistinguishedName::new();
    params.serialize_request(&KeyPair::generate().expect("a key")).expect("a certification request")
}

/// What a load saw.
#[derive(Default)]
pub(crate) struct Load {
    /// How long each finalize took, in order.
    finalized: Vec<Duration>,
    seconds: f64,
    /// Seconds of CPU that this program used, with what answers challenges.
    cpu: f64,
    requests: u64,
}

impl Load {
    /// Takes in what came after it.
    pub(crate) fn add(&mut self, next: Self) {
        self.finalized.extend(next.finalized);
        self.finalized.sort_unstable();
        self.seconds += next.seconds;
        self.cpu += next.cpu;
        self.requests += next.requests;
    }

    pub(crate) fn issued(&self) -> u64 {
        self.finalized.len() as u64
    }

    pub(crate) fn rate(&self) -> f64 {
        self.finalized.len() as f64 / self.seconds
    }

    /// Milliseconds of the clients' CPU for each certificate.
    pub(crate) fn clients_milliseconds(&self) -> f64 {
        self.cpu * 1000.0 / self.finalized.len() as f64
    }

    /// Requests for each certificate.
    pub(crate) fn requests(&self) -> f64 {
        self.requests as f64 / self.finalized.len() as f64
    }

    fn milliseconds(&self, part: f64) -> f64 {
        let at = (self.finalized.len() as f64 * part) as usize;
        self.finalized.get(at).map_or(f64::NAN, |took| took.as_secs_f64() * 1000.0)
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (half, most, nearly_all) = (self.milliseconds(0.5), self.milliseconds(0.99), self.milliseconds(0.999));
        write!(f, "{} in {:.1} s; finalize {half:.1} ms, 99 %: {most:.1}, 99.9 %: {nearly_all:.1}", self.finalized.len(), self.seconds)
    }
}
