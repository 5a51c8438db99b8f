//! What a database error means to a caller.

use ca_core::ports::StoreError;
use sqlx::error::ErrorKind;
use sqlx::migrate::MigrateError;

/// Says whether to try again, to give up, or that a unique value is taken.
pub(crate) fn from_sqlx(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(e) => match e.kind() {
            ErrorKind::UniqueViolation | ErrorKind::ForeignKeyViolation | ErrorKind::CheckViolation => {
                StoreError::Conflict(e.message().to_owned())
            }
            // The low octet is SQLite's primary result code: 11 is SQLITE_CORRUPT, 26 SQLITE_NOTADB.
            _ => match e.code().and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff) {
                Some(11 | 26) => StoreError::Damaged(error.to_string()),
                _ => StoreError::Unavailable(error.to_string()),
            },
        },
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) | sqlx::Error::TypeNotFound { .. } => {
            StoreError::Damaged(error.to_string())
        }
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// Like [`from_sqlx`], with `taken` for the message where a unique value is taken.
pub(crate) fn or_taken(taken: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| match from_sqlx(error) {
        StoreError::Conflict(_) => StoreError::Conflict(taken.to_owned()),
        other => other,
    }
}

/// Explains a schema that cannot be brought up to date.
pub(crate) fn from_migrate(error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(version) => StoreError::Damaged(format!(
            "its schema has version {version}, which this program does not know (hint: a newer version wrote the file; run that one)"
        )),
        MigrateError::VersionMismatch(version) => StoreError::Damaged(format!(
            "its schema's version {version} differs from this program's (hint: another program wrote the file)"
        )),
        MigrateError::Execute(e) => from_sqlx(e),
        other => StoreError::Unavailable(format!("cannot bring the schema up to date: {other}")),
    }
}

/// A stored value that this program did not write.
pub(crate) fn damaged(what: &str, why: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("{what}: {why}"))
}

/// A conflict with a reason.
pub(crate) fn conflict<T>(why: impl Into<String>) -> Result<T, StoreError> {
    Err(StoreError::Conflict(why.into()))
}
