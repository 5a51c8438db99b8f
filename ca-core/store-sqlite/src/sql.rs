//! Statements. sqlx checks their text and their arguments at compile time, against the migrations; they run in the
//! caller's own thread, which sqlx's driver for SQLite cannot do: its two changes of thread cost ten times as much as
//! most statements.
//!
//! Arguments are `$1`, `$2`, … as in the text for PostgreSQL; columns are read by name.

use ca_core::ports::StoreResult;
use rusqlite::types::FromSql;
use rusqlite::{Connection, Statement, ToSql};

use crate::error::{damaged, from_sqlite};

/// The text of a statement, checked. It may be several literals, `+` between them, so that a part may stand once.
macro_rules! checked {
    ($sql:literal $(+ $more:literal)* $(, $argument:expr)*) => {{
        if false {
            let _ = sqlx::query!($sql $(+ $more)* $(, $argument)*);
        }
        concat!($sql $(, $more)*)
    }};
}

/// Runs a statement without rows; gives how many it changed.
macro_rules! execute {
    ($connection:expr, $sql:literal $(+ $more:literal)* $(, $argument:expr)* $(,)?) => {
        $crate::sql::run($connection, $crate::sql::checked!($sql $(+ $more)* $(, $argument)*), &[$(&$argument as &dyn rusqlite::ToSql),*])
    };
}

/// The first row, if there is one, as the closure reads it.
macro_rules! optional {
    ($connection:expr, $read:expr, $sql:literal $(+ $more:literal)* $(, $argument:expr)* $(,)?) => {
        $crate::sql::first($connection, $crate::sql::checked!($sql $(+ $more)* $(, $argument)*), &[$(&$argument as &dyn rusqlite::ToSql),*], $read)
    };
}

/// The row of a statement that always has one, as the closure reads it.
macro_rules! one {
    ($connection:expr, $read:expr, $sql:literal $(+ $more:literal)* $(, $argument:expr)* $(,)?) => {
        $crate::sql::only($connection, $crate::sql::checked!($sql $(+ $more)* $(, $argument)*), &[$(&$argument as &dyn rusqlite::ToSql),*], $read)
    };
}

/// Every row, as the closure reads it.
macro_rules! all {
    ($connection:expr, $read:expr, $sql:literal $(+ $more:literal)* $(, $argument:expr)* $(,)?) => {
        $crate::sql::every($connection, $crate::sql::checked!($sql $(+ $more)* $(, $argument)*), &[$(&$argument as &dyn rusqlite::ToSql),*], $read)
    };
}

pub(crate) use {all, checked, execute, one, optional};

/// A row that was found.
pub(crate) struct Row<'s>(&'s rusqlite::Row<'s>);

impl Row<'_> {
    /// A column's value.
    pub(crate) fn get<T: FromSql>(&self, column: &str) -> StoreResult<T> {
        self.0.get(column).map_err(from_sqlite)
    }

    /// A column's octets, of a text too: who edits a file need not keep to the types.
    pub(crate) fn octets(&self, column: &str) -> StoreResult<Vec<u8>> {
        let value = self.0.get_ref(column).map_err(from_sqlite)?;
        value.as_bytes().map(<[u8]>::to_vec).map_err(|error| damaged(column, error))
    }
}

pub(crate) fn run(connection: &Connection, sql: &'static str, arguments: &[&dyn ToSql]) -> StoreResult<usize> {
    let run = || {
        let mut statement = connection.prepare_cached(sql)?;
        bind(&mut statement, arguments)?;
        statement.raw_execute()
    };
    run().map_err(from_sqlite)
}

pub(crate) fn first<T>(
    connection: &Connection,
    sql: &str,
    arguments: &[&dyn ToSql],
    read: impl FnOnce(&Row<'_>) -> StoreResult<T>,
) -> StoreResult<Option<T>> {
    let mut statement = connection.prepare_cached(sql).map_err(from_sqlite)?;
    bind(&mut statement, arguments).map_err(from_sqlite)?;
    let mut rows = statement.raw_query();
    rows.next().map_err(from_sqlite)?.map(|row| read(&Row(row))).transpose()
}

pub(crate) fn only<T>(
    connection: &Connection,
    sql: &'static str,
    arguments: &[&dyn ToSql],
    read: impl FnOnce(&Row<'_>) -> StoreResult<T>,
) -> StoreResult<T> {
    first(connection, sql, arguments, read)?.ok_or_else(|| damaged("a statement that has one row", "it has none"))
}

pub(crate) fn every<T>(
    connection: &Connection,
    sql: &str,
    arguments: &[&dyn ToSql],
    mut read: impl FnMut(&Row<'_>) -> StoreResult<T>,
) -> StoreResult<Vec<T>> {
    let mut statement = connection.prepare_cached(sql).map_err(from_sqlite)?;
    bind(&mut statement, arguments).map_err(from_sqlite)?;
    let (mut rows, mut found) = (statement.raw_query(), Vec::new());
    while let Some(row) = rows.next().map_err(from_sqlite)? {
        found.push(read(&Row(row))?);
    }
    Ok(found)
}

/// Binds by the number in a parameter's name: SQLite counts `$2` as the first where it stands first.
fn bind(statement: &mut Statement<'_>, arguments: &[&dyn ToSql]) -> rusqlite::Result<()> {
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).unwrap_or_default();
        let number = name.get(1..).and_then(|number| number.parse::<usize>().ok());
        let argument = number.and_then(|number| arguments.get(number.checked_sub(1)?));
        let argument = argument.ok_or_else(|| rusqlite::Error::InvalidParameterName(name.to_owned()))?;
        statement.raw_bind_parameter(index, argument)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{Row, every, first, only, run};

    fn connection() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE jobs (id TEXT, kind TEXT)").unwrap();
        connection
    }

    #[test]
    fn arguments_go_by_their_number_not_by_their_place() {
        let connection = connection();
        let sql = "INSERT INTO jobs (kind, id) VALUES ($2, $1)";
        assert_eq!(run(&connection, sql, &[&"the id", &"the kind"]).unwrap(), 1);
        let read = |row: &Row<'_>| Ok((row.get::<String>("id")?, row.get::<String>("kind")?));
        let found = first(&connection, "SELECT id, kind FROM jobs", &[], read).unwrap();
        assert_eq!(found, Some(("the id".to_owned(), "the kind".to_owned())));
    }

    #[test]
    fn an_argument_that_is_missing_is_an_error_and_nothing_is_written() {
        let connection = connection();
        assert!(run(&connection, "INSERT INTO jobs (kind, id) VALUES ($2, $1)", &[&"the id"]).is_err());
        assert_eq!(only(&connection, "SELECT count(*) AS jobs FROM jobs", &[], |row| row.get::<i64>("jobs")).unwrap(), 0);
    }

    #[test]
    fn a_column_of_another_type_or_a_row_that_is_missing_says_that_the_store_is_damaged() {
        let connection = connection();
        run(&connection, "INSERT INTO jobs (id) VALUES ($1)", &[&"text"]).unwrap();
        let number = first(&connection, "SELECT id FROM jobs", &[], |row| row.get::<i64>("id"));
        assert!(matches!(number, Err(ca_core::ports::StoreError::Damaged(_))), "{number:?}");
        let row = only(&connection, "SELECT id FROM jobs WHERE id = 'other'", &[], |row| row.get::<String>("id"));
        assert!(matches!(row, Err(ca_core::ports::StoreError::Damaged(_))), "{row:?}");
        assert_eq!(every(&connection, "SELECT id FROM jobs", &[], |row| row.get::<String>("id")).unwrap(), ["text"]);
    }
}
