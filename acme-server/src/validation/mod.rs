//! Validation of challenges: from a leased job to evidence.
//!
//! Each method has one validator (`http`, `dns`, `tls_alpn`, `device`; lesson 6), those that ask the network one resolver
//! (`resolver`) and one way to connect (`connect`), where the guard judges the address of the socket itself (lessons 9, 10, 35). `caa` is
//! asked after a proof. `run` leases jobs and reports; what an answer means is decided in [`ca_core::validation`].
//!
//! Deliberately absent: a cache of answers, a way to skip a check, and any text that was fetched in what clients are
//! told.

mod caa;
mod connect;
mod device;
mod dns;
mod http;
mod redirect;
mod resolver;
mod run;
mod settings;
mod tls;
mod tls_alpn;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use ca_core::model::{AttestationEvidence, ChallengeMethod, Fault, LeasedValidation, Problem, ProblemType, ValidationRecord};
use ca_core::pki::{Sha256Digest, Timestamp, sha256};
use ca_core::policy::ChallengeZone;
use ca_core::validation::attestation::AttestationCrls;
use ca_core::validation::{AddressGuard, key_authorization};

pub use settings::{ValidationConfig, ValidationSection};

use connect::Connector;
use resolver::Resolver;
use tls::Tls;

/// What an attempt saw, success or not.
#[derive(Debug, Default)]
struct Trace {
    addresses: Vec<IpAddr>,
    answer: Option<Sha256Digest>,
    caa: Option<String>,
    attestation: Option<AttestationEvidence>,
}

impl Trace {
    fn connecting(&mut self, address: IpAddr) {
        if self.addresses.len() < ValidationRecord::MAX_ADDRESSES {
            self.addresses.push(address);
        }
    }

    fn answered(&mut self, answer: &[u8]) {
        self.answer = Some(sha256(answer));
    }
}

/// Why an attempt failed, and whose doing that is.
#[derive(Debug)]
struct Failed {
    problem: Problem,
    fault: Fault,
}

impl Failed {
    /// Not the client's: operators or officers changed something, or this CA is in trouble.
    const fn of_ours(problem: Problem) -> Self {
        Self { problem, fault: Fault::Change }
    }
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        let fault = if problem.kind == ProblemType::ServerInternal { Fault::Change } else { Fault::Client };
        Self { problem, fault }
    }
}

/// Everything that validators need, made once.
pub(crate) struct Validators {
    config: ValidationConfig,
    resolver: Resolver,
    connector: Connector,
    tls: Tls,
    crls: RwLock<Arc<AttestationCrls>>,
}

impl Validators {
    /// Holds what devices attest against these CRLs of their makers from now on.
    pub(crate) fn set_attestation_crls(&self, crls: Arc<AttestationCrls>) {
        *self.crls.write().unwrap_or_else(PoisonError::into_inner) = crls;
    }

    fn attestation_crls(&self) -> Arc<AttestationCrls> {
        Arc::clone(&self.crls.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Validators for a site.
    ///
    /// # Errors
    /// When the system's resolver configuration cannot be read, or TLS cannot be set up.
    pub(crate) fn new(config: &ValidationConfig) -> Result<Self, String> {
        Ok(Self {
            resolver: Resolver::new(config)?,
            connector: Connector::new(AddressGuard::new(config.networks.clone(), config.public), config.attempt),
            tls: Tls::new()?,
            crls: RwLock::default(),
            config: config.clone(),
        })
    }

    /// Makes one attempt: the method's own validation, then CAA where the zone asks for it.
    async fn attempt(
        &self,
        job: &LeasedValidation,
        zone: Option<&ChallengeZone>,
        account_url: &str,
        now: Timestamp,
    ) -> (Trace, Result<(), Failed>) {
        let mut trace = Trace::default();
        let result = async {
            let zone = zone.filter(|zone| zone.methods_for(&job.identifier).contains(&job.method));
            let zone = zone.ok_or_else(|| {
                let detail = "the CA's policy no longer lets this method prove this identifier";
                Failed::of_ours(problem(ProblemType::Unauthorized, detail))
            })?;
            self.in_time(self.validate(job, zone, now, &mut trace)).await?;
            if !zone.caa.is_empty() {
                trace.caa = Some(self.in_time(caa::check(self, job, &zone.caa, account_url)).await?);
            }
            Ok(())
        };
        let result = result.await;
        (trace, result)
    }

    /// One validator for each method (lesson 6).
    async fn validate(&self, job: &LeasedValidation, zone: &ChallengeZone, now: Timestamp, trace: &mut Trace) -> Result<(), Failed> {
        let expected = key_authorization(&job.token, &job.thumbprint);
        match job.method {
            ChallengeMethod::Http01 => http::validate(self, job, &expected, trace).await,
            ChallengeMethod::Dns01 => dns::validate(self, job, &expected, trace).await,
            ChallengeMethod::TlsAlpn01 => tls_alpn::validate(self, job, &expected, trace).await,
            ChallengeMethod::DeviceAttest01 => device::validate(self, job, &expected, zone, now, trace).await,
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
        let late = |_| {
            let detail = format!("validation took longer than {} seconds", self.config.attempt.as_secs());
            Problem::new(ProblemType::Connection, detail)
        };
        tokio::time::timeout(self.config.attempt, work).await.map_err(late)?
    }
}

/// A device is nowhere on the network; no method that connects is offered for one.
fn no_host() -> Problem {
    problem(ProblemType::Unauthorized, "a device's name is proven by device-attest-01 only")
}

fn problem(kind: ProblemType, detail: impl Into<String>) -> Problem {
    Problem::new(kind, detail)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Lesson 6: no second path to a method's proof that could lose a check.
    #[test]
    fn lesson_06_each_method_has_one_validator_called_from_one_place() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut text = String::new();
        for folder in [source.clone(), source.join("validation")] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    text.push_str(&std::fs::read_to_string(path).unwrap());
                }
            }
        }
        for (validator, method) in [("http", "http-01"), ("dns", "dns-01"), ("tls_alpn", "tls-alpn-01"), ("device", "device-attest-01")] {
            let call = ["=> ", validator, "::validate(self"].concat();
            assert_eq!(text.matches(&call).count(), 1, "{method}");
        }
        let definition = ["pub(super) async fn ", "validate("].concat();
        assert_eq!(text.matches(&definition).count(), 4);
    }
}
