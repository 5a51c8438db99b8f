//! `ca keys init`: the services' own keys, made before a ceremony, whose plan pins their digests.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use ca_core::pki::KeyAlgorithm;
use ca_core::ports::ServiceKey as _;
use ca_keystore::{MasterKey, SoftwareServiceKey, UnsealSpec, Unsealer};
use serde_json::json;

use crate::cli::KeysCommand;
use crate::config::Config;
use crate::exit::configuration;
use crate::render::{print, print_json, table};
use crate::serve::compose::service_unsealer;
use crate::system::SystemRng;

pub(crate) fn keys(config: &Config, command: KeysCommand) -> anyhow::Result<()> {
    let KeysCommand::Init { output } = command;
    let section = &config.service_keys;
    if let UnsealSpec::KeyFile(path) = &section.unseal
        && !path.exists()
    {
        make_folder_of(path)?;
        Unsealer::create_file_key(path, &SystemRng)?;
    }
    let unsealer = service_unsealer(config)?;
    if !section.master.exists() {
        make_folder_of(&section.master)?;
        MasterKey::create(&section.master, &unsealer, &SystemRng)?;
    }
    let mut made = vec![("server".to_owned(), "server", &section.server)];
    made.extend(section.ocsp.iter().map(|(authority, path)| (format!("ocsp of {authority}"), "ocsp", path)));
    let mut rows = Vec::with_capacity(made.len());
    for (what, shape, path) in made {
        let key = service_key(path, &unsealer)?;
        rows.push((what, shape, key.public_key().spki_sha256().to_string(), path.display().to_string()));
    }
    if output.json {
        let keys: Vec<_> = rows
            .iter()
            .map(|(what, shape, digest, path)| json!({ "key": what, "shape": shape, "key_sha256": digest, "file": path }))
            .collect();
        return print_json(&keys);
    }
    let cells: Vec<[String; 3]> = rows.iter().map(|(what, _, digest, path)| [what.clone(), digest.clone(), path.clone()]).collect();
    print(&table(["KEY", "KEY_SHA256, FOR THE PLAN'S [[policy.authority.own]]", "FILE"], &cells))
}

/// The key at `path`, made where it is missing.
pub(crate) fn service_key(path: &Path, unsealer: &Unsealer) -> anyhow::Result<SoftwareServiceKey> {
    if path.exists() {
        return Ok(SoftwareServiceKey::open(path, unsealer)?);
    }
    make_folder_of(path)?;
    Ok(SoftwareServiceKey::generate(path, KeyAlgorithm::P256, unsealer, &SystemRng)?)
}

fn make_folder_of(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let wrong = |e| configuration(format!("cannot make {}: {e} (hint: make it, owned by the user of `ca serve`)", folder.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)
}
