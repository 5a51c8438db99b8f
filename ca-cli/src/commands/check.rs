//! `ca config check`: everything that a start would read, without starting.

use serde_json::json;

use crate::cli::Output;
use crate::config::Config;
use crate::exit::{Exit, failure};
use crate::render::{print, print_json, table};
use crate::serve::compose::{open_key_store, open_service_keys, read_roster};

pub(crate) async fn check(config: &Config, output: Output) -> anyhow::Result<()> {
    let roster = read_roster(config).map(|r| {
        let names: Vec<&str> = r.officers.iter().map(|o| o.name.as_str()).collect();
        format!("{} roster, {} of {}, SHA-256 {}", r.kind, r.threshold, names.join(", "), r.digest())
    });
    let keys = match open_key_store(config) {
        Ok(keys) => crate::serve::compose::list_keys(config, &*keys).await.map(|keys| {
            let labels: Vec<String> = keys.iter().map(|k| format!("{} ({})", k.label, k.algorithm.described())).collect();
            if labels.is_empty() { "empty (hint: `ca ceremony run` makes keys)".to_owned() } else { labels.join(", ") }
        }),
        Err(error) => Err(error),
    };
    let services = open_service_keys(config).map(|keys| {
        let ocsp: Vec<&str> = keys.ocsp.iter().map(|(name, _)| name.as_str()).collect();
        let server = if keys.server.is_some() { ", server" } else { "" };
        let ocsp = if ocsp.is_empty() { "none".to_owned() } else { ocsp.join(", ") };
        format!("master{server}, OCSP for {ocsp}, {} held by other processes", keys.elsewhere.len())
    });
    let folder = config.store.path.parent().is_some_and(std::path::Path::is_dir);
    let store = if folder {
        Ok(config.store.path.display().to_string())
    } else {
        Err(anyhow::anyhow!("the folder of {} is missing (hint: make it, owned by the user of `ca serve`)", config.store.path.display()))
    };
    let anchor = match &config.anchor {
        Some(section) => crate::anchor::read(&section.file)
            .map(|reading| format!("{}, row {} of the audit trail", section.file.display(), reading.state.log().number)),
        None => Ok("none: only a rehearsal may go without".to_owned()),
    };
    let operator = match &config.operator.key {
        Some(path) if !path.exists() => {
            Err(anyhow::anyhow!("{} is missing (hint: leave operator.key out, or name the key)", path.display()))
        }
        Some(path) => Ok(path.display().to_string()),
        None => Ok("none: --operator-key names one".to_owned()),
    };
    let found = [
        ("trust.roster", roster),
        ("anchor", anchor),
        ("keystore", keys),
        ("service_keys", services),
        ("store", store),
        ("operator.key", operator),
    ];
    let failed = found.iter().filter(|(_, r)| r.is_err()).count();
    let text = |r: &anyhow::Result<String>| r.as_ref().map_or_else(|e| format!("{e:#}"), Clone::clone);
    if output.json {
        let parts: Vec<_> = found.iter().map(|(name, r)| json!({ "part": name, "ok": r.is_ok(), "detail": text(r) })).collect();
        print_json(&json!({ "ok": failed == 0, "parts": parts }))?;
    } else {
        let rows: Vec<[String; 3]> =
            found.iter().map(|(name, r)| [(*name).to_owned(), if r.is_ok() { "ok" } else { "WRONG" }.to_owned(), text(r)]).collect();
        print(&table(["PART", "STATE", "DETAIL"], &rows))?;
    }
    match failed {
        0 => Ok(()),
        n => Err(failure(Exit::Configuration, format!("{n} parts of the configuration are wrong; see above"))),
    }
}
