//! Directories (RFC 8555 §7.1.1): the default one, and one for each authority and profile.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use ca_core::model::{AuthorityName, GrantId};
use ca_core::pki::DnsName;
use ca_core::policy::{AuthorityPolicy, ChallengeZone};
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};

use crate::config::{AcmeConfig, AuthorityOffer, ProfileOffer};
use crate::front::AcmeServer;
use crate::problem::Refusal;
use crate::request::{Ids, PostAsGet};

/// What is on offer, and all directories of it, made once for each policy.
pub(crate) struct Directories {
    authorities: Vec<AuthorityOffer>,
    default: Bytes,
    scoped: Vec<(AuthorityName, String, Bytes)>,
}

impl Directories {
    pub(crate) fn new(config: &AcmeConfig, authorities: Vec<AuthorityOffer>) -> Self {
        let offered = authorities.iter().find(|a| *a.name() == config.default_authority);
        let (profiles, zones) = offered.map_or((&[][..], &[][..]), |a| (&a.profiles, &a.rules.challenge_zones));
        let bound = authorities.iter().all(|a| a.rules.open_enrolment.is_none());
        let scoped = authorities.iter().flat_map(|authority| {
            authority.profiles.iter().map(|profile| {
                let new_order = format!("/a/{}/acme/p/{}/new-order", authority.name(), profile.name);
                (
                    authority.name().clone(),
                    profile.name.clone(),
                    render(config, &new_order, std::slice::from_ref(profile), &authority.rules.challenge_zones, bound),
                )
            })
        });
        let scoped = scoped.collect();
        let default = render(config, "/acme/new-order", profiles, zones, bound);
        Self { default, scoped, authorities }
    }

    /// Whether it is exactly this that is on offer.
    pub(crate) fn offers(&self, authorities: &[AuthorityOffer]) -> bool {
        self.authorities == authorities
    }

    /// The zones in which an authority challenges identifiers.
    pub(crate) fn zones(&self, authority: &AuthorityName) -> &[ChallengeZone] {
        self.rules(authority).map_or(&[], |rules| &rules.challenge_zones)
    }

    fn offer(&self, authority: &AuthorityName) -> Option<&AuthorityOffer> {
        self.authorities.iter().find(|a| a.name() == authority)
    }

    /// What the officers let an authority on offer issue.
    pub(crate) fn rules(&self, authority: &AuthorityName) -> Option<&AuthorityPolicy> {
        self.offer(authority).map(|offer| &offer.rules)
    }

    /// The grant of accounts that come without a binding, where the officers opened enrolment.
    pub(crate) fn open_enrolment(&self) -> Option<&GrantId> {
        self.authorities.iter().find_map(|a| a.rules.open_enrolment.as_ref())
    }

    /// Whether any authority challenges identifiers.
    pub(crate) fn any_zone(&self) -> bool {
        self.authorities.iter().any(|a| !a.rules.challenge_zones.is_empty())
    }

    /// The profile, if the authority has it on offer.
    pub(crate) fn offered(&self, authority: &AuthorityName, profile: &str) -> Option<&ProfileOffer> {
        self.offer(authority)?.profiles.iter().find(|p| p.name == profile)
    }
}

fn render(config: &AcmeConfig, new_order: &str, profiles: &[ProfileOffer], zones: &[ChallengeZone], bound: bool) -> Bytes {
    let url = |path: &str| format!("{}{path}", config.public_base_url);
    let mut meta = Map::new();
    if let Some(terms) = &config.terms_of_service {
        meta.insert("termsOfService".to_owned(), json!(terms));
    }
    if let Some(website) = &config.website {
        meta.insert("website".to_owned(), json!(website));
    }
    let identities: BTreeSet<&str> = zones.iter().flat_map(|zone| &zone.caa).map(DnsName::as_str).collect();
    if !identities.is_empty() {
        meta.insert("caaIdentities".to_owned(), json!(identities));
    }
    meta.insert("externalAccountRequired".to_owned(), json!(bound));
    if let Some(auto_renewal) = auto_renewal(profiles) {
        meta.insert("auto-renewal".to_owned(), auto_renewal);
    }
    let profiles: Map<String, Value> = profiles.iter().map(|p| (p.name.clone(), json!(p.description))).collect();
    meta.insert("profiles".to_owned(), Value::Object(profiles));
    let mut directory = json!({
        "newNonce": url("/acme/new-nonce"),
        "newAccount": url("/acme/new-account"),
        "newOrder": url(new_order),
        "revokeCert": url("/acme/revoke-cert"),
        "keyChange": url("/acme/key-change"),
        "renewalInfo": url("/acme/renewal-info"),
        "meta": meta,
    });
    // RFC 8555 §7.1: without pre-authorization the field is left out; what a grant covers needs none.
    if !zones.is_empty() {
        directory["newAuthz"] = json!(url("/acme/new-authz"));
    }
    directory.to_string().into()
}

/// RFC 8739 §3.2: the widest bounds of the profiles; one that has narrower ones says so when it is ordered.
fn auto_renewal(profiles: &[ProfileOffer]) -> Option<Value> {
    let stars = || profiles.iter().filter_map(|profile| profile.star.as_ref());
    let min_lifetime = stars().map(|star| star.min_lifetime.as_secs()).min()?;
    let max_duration = stars().map(|star| star.max_duration.as_secs()).max()?;
    let allow = stars().any(|star| star.certificate_get);
    Some(json!({ "min-lifetime": min_lifetime, "max-duration": max_duration, "allow-certificate-get": allow }))
}

fn answer(directory: &Bytes) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], directory.clone()).into_response()
}

/// GET /acme/directory
pub(crate) async fn default(State(server): State<Arc<AcmeServer>>) -> Response {
    answer(&server.directories().default)
}

/// GET /a/{authority}/acme/p/{profile}/directory
pub(crate) async fn scoped(
    State(server): State<Arc<AcmeServer>>,
    Ids(authority, profile): Ids<AuthorityName, String>,
) -> Result<Response, Refusal> {
    let directories = server.directories();
    let found = directories.scoped.iter().find(|(a, p, _)| *a == authority && *p == profile);
    found.map(|(_, _, directory)| answer(directory)).ok_or_else(Refusal::not_found)
}

/// POST /acme/directory, with an empty payload. RFC 8555 §6.3: directory and newNonce are read by GET "in addition to
/// POST-as-GET requests".
pub(crate) async fn default_signed(server: State<Arc<AcmeServer>>, _: PostAsGet) -> Response {
    default(server).await
}

/// POST /a/{authority}/acme/p/{profile}/directory, the same.
pub(crate) async fn scoped_signed(
    server: State<Arc<AcmeServer>>,
    ids: Ids<AuthorityName, String>,
    _: PostAsGet,
) -> Result<Response, Refusal> {
    scoped(server, ids).await
}
