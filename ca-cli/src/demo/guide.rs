//! What a newcomer reads after the start: every command can be pasted as it is.

use super::facts::{DEMO_NAME, Facts};
use super::setup::{Layout, shown};
use crate::render::quoted;

pub(super) fn text(layout: &Layout, facts: &Facts, first: bool) -> String {
    let path = |p: &std::path::Path| quoted(&shown(p).display().to_string());
    let ca = std::env::current_exe().map_or_else(|_| "ca".to_owned(), |exe| path(&exe));
    let (root, issuer, config) = (path(&layout.root), path(&layout.issuer), path(&layout.config));
    let under = |name: &str| path(&layout.dir.join(name));
    let Facts { acme_directory, ocsp_url, crl_url, eab_kid, eab_hmac, .. } = facts;
    let certbot = layout.dir.join("certbot");
    let certificate = path(&certbot.join("config/live").join(DEMO_NAME).join("cert.pem"));
    let state = if first { "is ready: a rehearsed CA" } else { "goes on with the CA" };
    format!(
        r"
Countersign {state} in {dir} (throwaway officers and keys: nothing of it counts elsewhere).

  ACME directory  {acme_directory}
  OCSP            {ocsp_url}
  CRL             {crl_url} (with the root's, in PEM: {crls})
  certificates    root {root}, issuing CA {issuer}
  grant           EAB kid {eab_kid}
                  EAB key {eab_hmac}
                  for demo.test, *.demo.test, localhost, 127.0.0.1, ::1; profiles client, server, short (60 seconds)

Enrol, in another terminal in this folder. With certbot:
  REQUESTS_CA_BUNDLE={root} certbot certonly --standalone --non-interactive --agree-tos -m ops@demo.test --no-eff-email --server {acme_directory} --eab-kid {eab_kid} --eab-hmac-key {eab_hmac} -d {DEMO_NAME} --config-dir {certbot_config} --work-dir {certbot_work} --logs-dir {certbot_logs}
With lego:
  LEGO_CA_CERTIFICATES={root} lego --path {lego} --server {acme_directory} --accept-tos --eab --kid {eab_kid} --hmac {eab_hmac} --http --email ops@demo.test -d {DEMO_NAME} run
With the agent, which goes on renewing (Ctrl-C stops it):
  {ca} agent run --dir {agent} --directory {acme_directory} --ca-bundle {root} --eab-kid {eab_kid} --eab-hmac-file {hmac} --name {DEMO_NAME} --profile short

Ask OCSP about certbot's certificate:
  openssl ocsp -issuer {issuer} -CAfile {root} -url {ocsp_url} -cert {certificate}
Revoke it, then ask again:
  {ca} --config {config} cert revoke --reason keyCompromise --yes $(openssl x509 -noout -serial -in {certificate} | cut -d= -f2)

Next: {ca} --config {config} status | cert list | crl show | grant list | audit tail; {ca} help.
Facts for scripts are in {env}. Ctrl-C stops; the next start goes on with this state.

",
        dir = path(&layout.dir),
        crls = path(&layout.crls),
        certbot_config = under("certbot/config"),
        certbot_work = under("certbot/work"),
        certbot_logs = under("certbot/logs"),
        lego = under("lego"),
        agent = under("agent"),
        hmac = path(&layout.hmac),
        env = path(&layout.env),
    )
}
