//! `ca demo`: what `make run` shows. A rehearsed CA in one folder, on loopback, with a ready grant.
//!
//! Nothing here is a path of its own: the ceremony is `ca_ceremony::rehearse`, the import is that of `ca import`, the
//! instance that of `ca serve`, the grant a signed statement over the control socket. `setup` makes the folder,
//! `facts` is demo.env, `guide` is what a newcomer reads.

mod facts;
mod guide;
mod setup;

use std::path::Path;
use std::time::Duration;

use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{Grant, GrantId, GrantLimits, GrantStatus};
use ca_core::pki::{KeyAlgorithm, pem_encode};
use ca_core::policy::SubjectParts;

use crate::cli::{DemoArgs, DemoLog, Signing};
use crate::config::{Config, LogConfig, LogFormat};
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, failure};
use crate::render::print;
use crate::serve::{Ready, Role, start, until_signal};
use crate::system::SystemRng;
use facts::{Facts, write_private};
use setup::Layout;

/// How often crls.pem is compared with what is current.
const REFRESH: Duration = Duration::from_secs(1);

/// `ca demo`
pub(crate) async fn demo(args: DemoArgs) -> anyhow::Result<()> {
    let filter = match args.log {
        DemoLog::Warn => "warn",
        DemoLog::Info => "info",
        DemoLog::Debug => "debug,sqlx=info,h2=info,hyper=info,rustls=info",
    };
    ca_service::logging::start(&LogConfig { format: LogFormat::Text, filter: filter.to_owned() })?;
    let layout = Layout::new(&args.dir)?;
    let (config, first) = setup::prepare(&layout, args.acme_port, args.status_port, args.algorithm).await?;
    // From here on a signal stops cleanly.
    let signal = until_signal();
    let ready = start(&config, Role::All).await?;
    match greet(&layout, &config, first).await {
        Ok(()) => {}
        Err(error) => {
            ready.until(std::future::ready(())).await?;
            return Err(error);
        }
    }
    serve(ready, &layout, &config, signal).await?;
    print("Stopped. Starting it again goes on with the same state.\n")
}

async fn serve(ready: Ready, layout: &Layout, config: &Config, signal: impl Future<Output = ()>) -> anyhow::Result<()> {
    let refresh = async {
        let mut written = Vec::new();
        loop {
            if let Err(error) = write_crls(&layout.crls, &config.control.socket, &mut written).await {
                tracing::warn!(%error, "crls.pem could not be brought up to date");
            }
            tokio::time::sleep(REFRESH).await;
        }
    };
    ready
        .until(async {
            tokio::select! {
                () = signal => {}
                () = refresh => {}
            }
        })
        .await
}

/// Makes the grant where there is none, writes the facts, tells what to do.
async fn greet(layout: &Layout, config: &Config, first: bool) -> anyhow::Result<()> {
    write_crls(&layout.crls, &config.control.socket, &mut Vec::new()).await?;
    let known = match Facts::grant_in(&layout.env) {
        Some((kid, hmac)) if is_active(&config.control.socket, &kid).await? => Some((kid, hmac)),
        _ => None,
    };
    let (kid, hmac) = match known {
        Some(known) => known,
        None => create_grant(config).await?,
    };
    write_private(&layout.hmac, hmac.as_bytes())?;
    let facts = Facts::new(layout, config, kid, hmac);
    write_private(&layout.env, facts.to_text().as_bytes())?;
    print(&guide::text(layout, &facts, first))
}

async fn is_active(socket: &Path, kid: &str) -> anyhow::Result<bool> {
    let ControlAnswer::Grants { grants } = ask(socket, &ControlRequest::Grants { after: None, limit: 1000 }).await? else {
        return Err(unexpected());
    };
    Ok(grants.iter().any(|g| g.grant.id.as_str() == kid && g.status == GrantStatus::Active))
}

async fn create_grant(config: &Config) -> anyhow::Result<(String, String)> {
    let grant = Grant {
        id: GrantId::random(&SystemRng),
        version: 1,
        service: "demonstration".to_owned(),
        authority: setup::authority(),
        profiles: setup::profiles().into_keys().collect(),
        names: setup::granted_names(),
        enrol_by: None,
        valid_until: None,
        max_accounts: None,
        uri: None,
        emails: Vec::new(),
        subject: SubjectParts::default(),
        limits: GrantLimits::default(),
    };
    match crate::commands::submit(config, &Signing { operator_key: None }, Operation::GrantCreate { grant }).await? {
        OperatorReply::GrantCreated { kid, hmac_key } => Ok((kid.to_string(), hmac_key.reveal().to_owned())),
        _ => Err(unexpected()),
    }
}

/// Writes the root's and the issuer's CRL into one file, when it is not what stands there.
async fn write_crls(path: &Path, socket: &Path, written: &mut Vec<u64>) -> anyhow::Result<()> {
    let ControlAnswer::Crls { crls } = ask(socket, &ControlRequest::Crls).await? else { return Err(unexpected()) };
    let numbers: Vec<u64> = crls.iter().map(|c| c.number).collect();
    if numbers != *written {
        let text: String = crls.iter().map(|c| pem_encode("X509 CRL", &c.der)).collect();
        facts::write(path, text.as_bytes(), 0o644)?;
        *written = numbers;
    }
    Ok(())
}

/// A kind of keys that the demonstration was made with and that is now asked for otherwise.
fn other_algorithm(made: KeyAlgorithm, asked: KeyAlgorithm, dir: &Path) -> anyhow::Error {
    failure(
        Exit::Usage,
        format!(
            "the demonstration in {0} was made with --algorithm {made}, which its keys are; it can't go on with {asked} (hint: leave the option out, choose another --dir, or remove {0} to begin anew)",
            dir.display()
        ),
    )
}

/// A port that the demonstration was made with and that is now asked for otherwise.
fn other_port(what: &str, made: u16, asked: u16, dir: &Path) -> anyhow::Error {
    failure(
        Exit::Usage,
        format!(
            "the demonstration in {0} was made with --{what}-port {made}, which stands in its URLs; it can't go on with {asked} (hint: leave the option out, choose another --dir, or remove {0} to begin anew)",
            dir.display()
        ),
    )
}
