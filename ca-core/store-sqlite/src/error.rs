//! What a database error means to a caller.

use ca_core::ports::StoreError;
use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_CONSTRAINT_CHECK, SQLITE_CONSTRAINT_FOREIGNKEY, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
use sqlx::migrate::MigrateError;

/// Says whether to try again, to give up, or that a unique value is taken.
pub(crate) fn from_sqlite(error: rusqlite::Error) -> StoreError {
    use rusqlite::Error;
    match &error {
        Error::SqliteFailure(failure, message) => match (failure.code, failure.extended_code) {
            (
                ErrorCode::ConstraintViolation,
                SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_FOREIGNKEY | SQLITE_CONSTRAINT_CHECK,
            ) => StoreError::Conflict(message.clone().unwrap_or_else(|| error.to_string())),
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => StoreError::Damaged(error.to_string()),
            _ => StoreError::Unavailable(error.to_string()),
        },
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::InvalidColumnName(_)
        | Error::InvalidColumnIndex(_)
        | Error::Utf8Error(..) => StoreError::Damaged(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// `taken` for the message of a conflict: a unique value is taken.
pub(crate) fn or_taken(taken: &'static str) -> impl Fn(StoreError) -> StoreError {
    move |error| match error {
        StoreError::Conflict(_) => StoreError::Conflict(taken.to_owned()),
        other => other,
    }
}

/// The same for the connection that brings the schema up to date.
pub(crate) fn from_sqlx(error: sqlx::Error) -> StoreError {
    match &error {
        // The low octet is SQLite's primary result code: 11 is SQLITE_CORRUPT, 26 SQLITE_NOTADB.
        sqlx::Error::Database(e) if matches!(e.code().and_then(|c| c.parse::<i32>().ok()).map(|c| c & 0xff), Some(11 | 26)) => {
            StoreError::Damaged(error.to_string())
        }
        _ => StoreError::Unavailable(error.to_string()),
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
