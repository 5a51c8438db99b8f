//! Names: a stub resolver without a cache. Every answer is bounded.

use std::net::IpAddr;
use std::time::Duration;

use ca_core::model::{Problem, ProblemType};
use ca_core::validation::CaaRecord;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::{Failed, ValidationConfig, problem};

/// The most addresses and records of one answer that are looked at.
const MAX_ADDRESSES: usize = 8;
const MAX_RECORDS: usize = 128;
/// The longest chain of aliases that is followed.
const MAX_ALIASES: usize = 8;

/// Looks names up, and knows whether it is its servers that fail or the name's.
pub(super) struct Resolver {
    /// None where the system names no resolver and the site neither: then no name can be looked up.
    resolver: Option<TokioResolver>,
    /// How long a lookup may take: the attempt still has time then to find out whose fault it is that there was no answer.
    patience: Duration,
}

impl Resolver {
    pub(super) fn new(config: &ValidationConfig) -> Result<Self, String> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = if config.resolvers.is_empty() {
            match TokioResolver::builder(provider) {
                Ok(builder) => builder,
                Err(error) => {
                    tracing::warn!(%error, "no names can be validated: the system's resolvers are not known (hint: validation.resolvers)");
                    return Ok(Self { resolver: None, patience: Duration::ZERO });
                }
            }
        } else {
            let at = |mut connection: ConnectionConfig, port| {
                connection.port = port;
                connection
            };
            let servers = config.resolvers.iter().map(|address| {
                let mut server = NameServerConfig::udp_and_tcp(address.ip());
                server.connections = vec![at(ConnectionConfig::udp(), address.port()), at(ConnectionConfig::tcp(), address.port())];
                server
            });
            TokioResolver::builder_with_config(ResolverConfig::from_name_servers(servers.collect()), provider)
        };
        let options = builder.options_mut();
        // A client that sets a record right must not wait for an old answer to lapse.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        options.timeout = config.attempt / 4;
        options.attempts = 2;
        options.edns0 = true;
        let resolver = builder.build().map_err(|e| format!("the resolver: {e}"))?;
        Ok(Self { resolver: Some(resolver), patience: config.attempt / 2 })
    }

    fn known(&self) -> Result<&TokioResolver, Problem> {
        self.resolver.as_ref().ok_or_else(|| problem(ProblemType::ServerInternal, "the CA has no resolver to look names up with"))
    }

    /// What a lookup gave, if it gave anything in time.
    async fn in_time<T>(&self, lookup: impl Future<Output = Result<T, NetError>>) -> Result<T, NetError> {
        tokio::time::timeout(self.patience, lookup).await.unwrap_or(Err(NetError::Timeout))
    }

    async fn lookup(&self, name: Name, kind: RecordType) -> Result<Result<Lookup, NetError>, Problem> {
        Ok(self.in_time(self.known()?.lookup(name, kind)).await)
    }

    /// Whether a resolver answers at all. It is asked for what every one has, or refuses of itself: an answer of any kind but a
    /// failure shows that what it could not say of a name is the name's own doing.
    async fn is_well(&self) -> bool {
        let Some(resolver) = &self.resolver else { return false };
        match tokio::time::timeout(self.patience / 2, resolver.lookup(Name::root(), RecordType::NS)).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => !is_silent(&error),
            Err(_) => false,
        }
    }

    /// What comes of a lookup without an answer that can be used.
    async fn failed(&self, name: &str, what: &str, error: &NetError) -> Failed {
        let problem = failed(name, what, error);
        if is_silent(error) && !self.is_well().await {
            tracing::warn!(name, what, %error, "the resolver does not answer: names cannot be validated (hint: validation.resolvers)");
            return Failed::of_ours(problem);
        }
        problem.into()
    }

    /// The addresses of a name, at most [`MAX_ADDRESSES`].
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Failed> {
        let found = match self.in_time(self.known()?.lookup_ip(absolute(name)?)).await {
            Ok(found) => found,
            Err(error) => return Err(self.failed(name, "an address", &error).await),
        };
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in found.iter() {
            if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    /// The TXT values of a name, aliases followed; each value's strings joined.
    pub(super) async fn texts(&self, name: &str) -> Result<Vec<Vec<u8>>, Failed> {
        let target = self.canonical(name).await?;
        let found = match self.lookup(target, RecordType::TXT).await? {
            Ok(found) => found,
            Err(error) => return Err(self.failed(name, "a TXT record", &error).await),
        };
        let texts = found.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(text) => Some(text.txt_data.concat()),
            _ => None,
        });
        Ok(texts.take(MAX_RECORDS).collect())
    }

    /// The CAA records of a name, aliases followed; none only where the answer says that there are none.
    pub(super) async fn caa(&self, name: &str) -> Result<Vec<CaaRecord>, Failed> {
        let target = self.canonical(name).await?;
        let found = match self.lookup(target, RecordType::CAA).await? {
            Ok(found) => found,
            Err(error) if is_empty(&error) => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(name, "CAA records", &error).await),
        };
        let mut records = Vec::new();
        for record in found.answers().iter().filter(|record| record.record_type() == RecordType::CAA).take(MAX_RECORDS) {
            let RData::CAA(caa) = &record.data else {
                return Err(problem(ProblemType::Caa, format!("`{name}` has a CAA record that cannot be read")).into());
            };
            records.push(CaaRecord { critical: caa.issuer_critical, tag: caa.tag.clone(), value: caa.value.clone() });
        }
        // Something was answered: that there are no records was not.
        if records.is_empty() {
            return Err(problem(ProblemType::Dns, format!("looking up CAA records of `{name}`: the answer has something else")).into());
        }
        Ok(records)
    }

    /// The name at the end of a chain of aliases. A chain without end must not look like a name without records.
    async fn canonical(&self, name: &str) -> Result<Name, Failed> {
        let mut current = absolute(name)?;
        for _ in 0..MAX_ALIASES {
            let found = match self.lookup(current.clone(), RecordType::CNAME).await? {
                Ok(found) => found,
                Err(error) if is_empty(&error) => return Ok(current),
                Err(error) => return Err(self.failed(name, "an alias", &error).await),
            };
            let alias = found.answers().iter().find_map(|record| match &record.data {
                RData::CNAME(alias) if record.name == current => Some(alias.0.clone()),
                _ => None,
            });
            match alias {
                Some(alias) => current = alias,
                None => return Ok(current),
            }
        }
        Err(problem(ProblemType::Dns, format!("`{name}`: more than {MAX_ALIASES} aliases follow one another")).into())
    }
}

/// A name that no search list is added to.
fn absolute(name: &str) -> Result<Name, Problem> {
    let refused = |_| problem(ProblemType::Dns, format!("`{name}` is too long to be looked up"));
    Name::from_ascii(format!("{name}.")).map_err(refused)
}

/// Whether the answer says that there is no such record, as against there being no answer. Name servers without the start of
/// their zone are a referral to others who may know (RFC 2308 §2.2).
fn is_empty(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let refers = none.ns.is_some() && none.soa.is_none();
            matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain) && !refers
        }
        _ => false,
    }
}

/// Whether the resolver said nothing of its own: no answer, or that it failed.
const fn is_silent(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::ResponseCode(code)) => matches!(code, ResponseCode::ServFail),
        NetError::Dns(_) => false,
        _ => true,
    }
}

/// What a client is told; the answer's own text is never in it.
fn failed(name: &str, what: &str, error: &NetError) -> Problem {
    let why = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain => "there is no such name".to_owned(),
        error if is_empty(error) => format!("it does not have {what}"),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the resolver answered {code}"),
        NetError::Timeout => "no answer from the resolver in time".to_owned(),
        _ => "the resolver gave no answer that can be used".to_owned(),
    };
    tracing::debug!(name, what, %error, "a lookup failed");
    problem(ProblemType::Dns, format!("looking up {what} of `{name}`: {why}"))
}
