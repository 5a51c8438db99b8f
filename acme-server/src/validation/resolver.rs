//! Names: a stub resolver without a cache. Every answer is bounded.

use std::net::IpAddr;

use ca_core::model::{Problem, ProblemType};
use ca_core::validation::CaaRecord;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::{ValidationConfig, problem};

/// The most addresses and records of one answer that are looked at.
const MAX_ADDRESSES: usize = 8;
const MAX_RECORDS: usize = 128;
/// The longest chain of aliases that is followed.
const MAX_ALIASES: usize = 8;

/// None where the system names no resolver and the site neither: then no name can be looked up.
pub(super) struct Resolver(Option<TokioResolver>);

impl Resolver {
    pub(super) fn new(config: &ValidationConfig) -> Result<Self, String> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = if config.resolvers.is_empty() {
            match TokioResolver::builder(provider) {
                Ok(builder) => builder,
                Err(error) => {
                    tracing::warn!(%error, "no names can be validated: the system's resolvers are not known (hint: validation.resolvers)");
                    return Ok(Self(None));
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
        builder.build().map(|resolver| Self(Some(resolver))).map_err(|e| format!("the resolver: {e}"))
    }

    fn known(&self) -> Result<&TokioResolver, Problem> {
        self.0.as_ref().ok_or_else(|| problem(ProblemType::ServerInternal, "the CA has no resolver to look names up with"))
    }

    /// The addresses of a name, at most [`MAX_ADDRESSES`].
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Problem> {
        let found = self.known()?.lookup_ip(absolute(name)?).await.map_err(|error| failed(name, "an address", &error))?;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in found.iter() {
            if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    /// The TXT values of a name, aliases followed; each value's strings joined.
    pub(super) async fn texts(&self, name: &str) -> Result<Vec<Vec<u8>>, Problem> {
        let target = self.canonical(name).await?;
        let found = self.known()?.lookup(target, RecordType::TXT).await.map_err(|error| failed(name, "a TXT record", &error))?;
        let texts = found.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(text) => Some(text.txt_data.concat()),
            _ => None,
        });
        Ok(texts.take(MAX_RECORDS).collect())
    }

    /// The CAA records of a name, aliases followed; none only where the answer says that there are none.
    pub(super) async fn caa(&self, name: &str) -> Result<Vec<CaaRecord>, Problem> {
        let target = self.canonical(name).await?;
        let found = match self.known()?.lookup(target, RecordType::CAA).await {
            Ok(found) => found,
            Err(error) if is_empty(&error) => return Ok(Vec::new()),
            Err(error) => return Err(failed(name, "CAA records", &error)),
        };
        let mut records = Vec::new();
        for record in found.answers().iter().filter(|record| record.record_type() == RecordType::CAA).take(MAX_RECORDS) {
            let RData::CAA(caa) = &record.data else {
                return Err(problem(ProblemType::Caa, format!("`{name}` has a CAA record that cannot be read")));
            };
            records.push(CaaRecord { critical: caa.issuer_critical, tag: caa.tag.clone(), value: caa.value.clone() });
        }
        // Something was answered: that there are no records was not.
        if records.is_empty() {
            return Err(problem(ProblemType::Dns, format!("looking up CAA records of `{name}`: the answer has something else")));
        }
        Ok(records)
    }

    /// The name at the end of a chain of aliases. A chain without end must not look like a name without records.
    async fn canonical(&self, name: &str) -> Result<Name, Problem> {
        let mut current = absolute(name)?;
        for _ in 0..MAX_ALIASES {
            let found = match self.known()?.lookup(current.clone(), RecordType::CNAME).await {
                Ok(found) => found,
                Err(error) if is_empty(&error) => return Ok(current),
                Err(error) => return Err(failed(name, "an alias", &error)),
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
        Err(problem(ProblemType::Dns, format!("`{name}`: more than {MAX_ALIASES} aliases follow one another")))
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
