//! What a device logs while a request is made on it: on record in the request's own transcript, and from there in the
//! audit trail of a CA that uses the device (requirement 35).

use std::path::Path;

use ca_core::ceremony::{KeyPlace, KeyRequest, PlannedSignatures, TranscriptEvent, check_device_logs, device_log_imports};
use ca_core::log::DeviceLogImport;
use ca_core::model::KeyLabel;
use ca_core::pki::sha256;

use crate::device_log::drain;
use crate::files::{read, request_name};
use crate::journal::{Journal, read_transcript};
use crate::request::{STATEMENT, TRANSCRIPT, attempt_of};
use crate::room::recorded_device;
use crate::{Error, RequestOptions, VerifiedBundle};

const PLACE: KeyPlace = KeyPlace::Online;

/// Before anything is asked of the device: what it logged until now is not the request's. A device without a log is not
/// looked at.
pub(crate) async fn enter(journal: &Journal, options: &RequestOptions) -> Result<(), Error> {
    if options.keys.log().await?.is_none() {
        return Ok(());
    }
    let identity = options.keys.identity().await?;
    if let Some(before) = recorded_device(&journal.transcript(), PLACE) {
        if (before.kind, &before.serial) != (identity.kind, &identity.serial) {
            let (found, began) = (&identity.serial, &before.serial);
            return Err(Error::Surroundings(format!("the device is `{found}`, and this request was begun on `{began}`")));
        }
        return take(journal, options).await;
    }
    take(journal, options).await?;
    let (inventory, deviations) = (options.keys.inventory().await?, options.keys.deviations_from_reset().await?);
    journal.append(options.clock.now(), TranscriptEvent::Device { place: PLACE, identity, inventory, deviations })
}

async fn take(journal: &Journal, options: &RequestOptions) -> Result<(), Error> {
    drain(journal, options.clock.as_ref(), options.keys.as_ref(), PLACE).await
}

/// Drains the device, and stops where its log does not fit what is on record.
pub(crate) async fn take_and_check(journal: &Journal, options: &RequestOptions, planned: &PlannedSignatures) -> Result<(), Error> {
    take(journal, options).await?;
    check_device_logs(journal.transcript().lines(), PLACE, planned).map_err(|what| {
        let hint = "(hint: keep the device and this folder as evidence; the request is not to be used)";
        Error::bundle(&options.folder.join(TRANSCRIPT), format!("{what} {hint}"))
    })
}

/// The devices' logs in the record of a request that the ceremony of `verified` took. The request is signed once by its
/// key: that signature is explained, and no other.
///
/// # Errors
/// When the ceremony took another request, or the record is not whole.
pub fn request_device_logs(folder: &Path, verified: &VerifiedBundle) -> Result<Vec<DeviceLogImport>, Error> {
    let path = folder.join(TRANSCRIPT);
    let transcript = read_transcript(&path)?;
    let taken = verified.requests.iter().find_map(|(authority, digest)| {
        let bytes = read(&folder.join(request_name(authority))).ok()?;
        (sha256(&bytes) == *digest).then_some(bytes)
    });
    let taken = taken.ok_or_else(|| {
        let hint = "(hint: name the folder that `ca ceremony request` made, with the bundle of the ceremony that took its request)";
        Error::bundle(folder, format!("it holds no request that the ceremony `{}` took {hint}", verified.title))
    })?;
    let request = KeyRequest::parse(&taken).map_err(Error::file(folder))?;
    let planned = planned(&attempt_of(request.statement())?, &request.statement().key);
    check_device_logs(transcript.lines(), PLACE, &planned).map_err(|what| Error::bundle(&path, what))?;
    let mut imports = device_log_imports(&transcript, PLACE, &planned);
    let mut left = 1;
    for count in imports.iter_mut().flat_map(|import| import.acts.values_mut()) {
        *count = (*count).min(left);
        left -= *count;
    }
    Ok(imports)
}

/// The one signature of a request.
pub(crate) fn planned(attempt: &ca_core::model::AttemptId, key: &KeyLabel) -> PlannedSignatures {
    [(STATEMENT.to_owned(), (attempt.clone(), key.clone()))].into()
}
