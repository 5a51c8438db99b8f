//! `ca keys init`: the services' own keys, made before a ceremony, whose plan pins their digests.

use ca_core::ports::ServiceKey as _;
use ca_keystore::MasterKey;
use ca_service::service_key::{make_folder_of, open_or_new, unsealer_or_new};
use serde_json::json;

use crate::cli::KeysCommand;
use crate::config::Config;
use crate::render::{print, print_json, table};
use crate::system::SystemRng;

pub(crate) fn keys(config: &Config, command: KeysCommand) -> anyhow::Result<()> {
    let KeysCommand::Init { ocsp_algorithm, output } = command;
    let section = &config.service_keys;
    let unsealer = unsealer_or_new(&section.unseal)?;
    if !section.master.exists() {
        make_folder_of(&section.master)?;
        MasterKey::create(&section.master, &unsealer, &SystemRng)?;
    }
    let mut made: Vec<_> = section.server.iter().map(|path| ("server".to_owned(), "server", path)).collect();
    made.extend(section.ocsp.iter().map(|(authority, path)| (format!("ocsp of {authority}"), "ocsp", path)));
    let mut rows = Vec::with_capacity(made.len());
    for (what, shape, path) in made {
        let key = open_or_new(path, ocsp_algorithm.filter(|_| shape == "ocsp"), &unsealer)?;
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
