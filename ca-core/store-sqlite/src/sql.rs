//! Statements. sqlx checks their text and their arguments at compile time, against the migrations; they run in the
//! caller's own thread, which sqlx's driver for SQLite cannot do: its two changes of thread cost ten times as much as
//! most statements.
//!
//! Arguments are `$1`, `$2`, … as in the text for PostgreSQL; columns are read by name, cheapest in the order of the text.

use std::cell::Cell;

use ca_core::ports::StoreResult;
use rusqlite::types::FromSql;
use rusqlite::{Connection, Statement, StatementStatus, ToSql};

use crate::error::{damaged, from_sqlite};

/// A statement, checked. Its text may be several literals, `+` between them, so that a part may stand once.
macro_rules! checked {
    ($sql:literal $(+ $more:literal)* $(, $argument:expr)*) => {{
        static SQL: $crate::sql::Sql<'static> = $crate::sql::Sql::new(concat!($sql $(, $more)*));
        if false {
            let _ = sqlx::query!($sql $(+ $more)* $(, $argument)*);
        }
        &SQL
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

/// The most parameters of a statement.
const MOST_PARAMETERS: usize = 32;

/// A statement's text, and which arguments its parameters take.
pub(crate) struct Sql<'t> {
    text: &'t str,
    /// By the parameters' places, which SQLite gives as they first appear: `$2` is the first where it stands first. Nought
    /// is no argument's number.
    numbers: [u8; MOST_PARAMETERS],
    /// How many there are.
    parameters: usize,
}

impl<'t> Sql<'t> {
    /// Finds the parameters. What it cannot read, [`bind`] refuses.
    pub(crate) const fn new(text: &'t str) -> Self {
        let bytes = text.as_bytes();
        let (mut numbers, mut parameters) = ([0; MOST_PARAMETERS], 0);
        let mut at = 0;
        while at < bytes.len() {
            let (start, first) = (at, bytes[at]);
            at += 1;
            if matches!(first, b'\'' | b'"') {
                // A quote that is doubled ends one text and begins another.
                while at < bytes.len() && bytes[at] != first {
                    at += 1;
                }
                at += 1;
            } else if in_word(first) {
                while at < bytes.len() && in_word(bytes[at]) {
                    at += 1;
                }
                if first == b'$' {
                    let number = number(bytes, start + 1, at);
                    if parameters < MOST_PARAMETERS && !among(&numbers, parameters, number) {
                        numbers[parameters] = number;
                        parameters += 1;
                    }
                }
            }
        }
        Self { text, numbers, parameters }
    }
}

/// Whether an octet is part of a name, a number or a parameter.
const fn in_word(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'$') || !octet.is_ascii()
}

/// The number from `from` to `to`; nought: it is none.
const fn number(bytes: &[u8], from: usize, to: usize) -> u8 {
    let (mut number, mut at) = (0u8, from);
    while at < to {
        let digit = bytes[at].wrapping_sub(b'0');
        if digit > 9 || number > 9 {
            return 0;
        }
        number = number * 10 + digit;
        at += 1;
    }
    number
}

/// Whether a number is one of the first so many.
const fn among(numbers: &[u8], count: usize, number: u8) -> bool {
    let mut at = 0;
    while at < count {
        if numbers[at] == number {
            return true;
        }
        at += 1;
    }
    false
}

/// A row that was found.
pub(crate) struct Row<'s> {
    row: &'s rusqlite::Row<'s>,
    /// The place after the column that was read last: most often the next one's.
    next: Cell<usize>,
}

impl<'s> Row<'s> {
    fn new(row: &'s rusqlite::Row<'s>) -> Self {
        Self { row, next: Cell::new(0) }
    }

    /// A column's value.
    pub(crate) fn get<T: FromSql>(&self, column: &str) -> StoreResult<T> {
        self.row.get(self.place(column)?).map_err(from_sqlite)
    }

    /// A column's octets, of a text too: who edits a file need not keep to the types.
    pub(crate) fn octets(&self, column: &str) -> StoreResult<Vec<u8>> {
        let value = self.row.get_ref(self.place(column)?).map_err(from_sqlite)?;
        value.as_bytes().map(<[u8]>::to_vec).map_err(|error| damaged(column, error))
    }

    /// Where a column stands: looks from the last one on, as every comparison asks SQLite for a name.
    fn place(&self, column: &str) -> StoreResult<usize> {
        let statement: &Statement<'_> = self.row.as_ref();
        let (next, columns) = (self.next.get(), statement.column_count());
        let is_it = |place: &usize| statement.column_name(*place).is_ok_and(|name| name.eq_ignore_ascii_case(column));
        let place = (next..columns).chain(0..next).find(is_it);
        let place = place.ok_or_else(|| from_sqlite(rusqlite::Error::InvalidColumnName(column.to_owned())))?;
        self.next.set(place + 1);
        Ok(place)
    }
}

pub(crate) fn run(connection: &Connection, sql: &Sql<'_>, arguments: &[&dyn ToSql]) -> StoreResult<usize> {
    let run = || {
        let mut statement = connection.prepare_cached(sql.text)?;
        bind(&mut statement, sql, arguments)?;
        statement.raw_execute()
    };
    run().map_err(from_sqlite)
}

pub(crate) fn first<T>(
    connection: &Connection,
    sql: &Sql<'_>,
    arguments: &[&dyn ToSql],
    read: impl FnOnce(&Row<'_>) -> StoreResult<T>,
) -> StoreResult<Option<T>> {
    let mut statement = connection.prepare_cached(sql.text).map_err(from_sqlite)?;
    bind(&mut statement, sql, arguments).map_err(from_sqlite)?;
    let mut rows = statement.raw_query();
    rows.next().map_err(from_sqlite)?.map(|row| read(&Row::new(row))).transpose()
}

pub(crate) fn only<T>(
    connection: &Connection,
    sql: &Sql<'_>,
    arguments: &[&dyn ToSql],
    read: impl FnOnce(&Row<'_>) -> StoreResult<T>,
) -> StoreResult<T> {
    first(connection, sql, arguments, read)?.ok_or_else(|| damaged("a statement that has one row", "it has none"))
}

pub(crate) fn every<T>(
    connection: &Connection,
    sql: &Sql<'_>,
    arguments: &[&dyn ToSql],
    mut read: impl FnMut(&Row<'_>) -> StoreResult<T>,
) -> StoreResult<Vec<T>> {
    let mut statement = connection.prepare_cached(sql.text).map_err(from_sqlite)?;
    bind(&mut statement, sql, arguments).map_err(from_sqlite)?;
    let (mut rows, mut found) = (statement.raw_query(), Vec::new());
    while let Some(row) = rows.next().map_err(from_sqlite)? {
        found.push(read(&Row::new(row))?);
    }
    Ok(found)
}

/// How often a statement may have been prepared anew: for changes of the schema, which tests make.
const PREPARED_ANEW: i32 = 4;

/// Binds by the numbers in the parameters' names. That SQLite sees as many parameters is held against it here, and in
/// debug builds that they are the same.
fn bind(statement: &mut Statement<'_>, sql: &Sql<'_>, arguments: &[&dyn ToSql]) -> rusqlite::Result<()> {
    debug_assert!(statement.get_status(StatementStatus::RePrepare) <= PREPARED_ANEW, "prepared anew at every run: {}", sql.text);
    let needed = statement.parameter_count();
    if needed != sql.parameters {
        return Err(rusqlite::Error::InvalidParameterCount(sql.parameters, needed));
    }
    for (index, number) in sql.numbers.iter().take(needed).enumerate() {
        let argument = usize::from(*number).checked_sub(1).and_then(|place| arguments.get(place));
        let argument = argument.ok_or_else(|| rusqlite::Error::InvalidParameterName(format!("${number}")))?;
        debug_assert_eq!(statement.parameter_name(index + 1), Some(format!("${number}").as_str()), "{}", sql.text);
        statement.raw_bind_parameter(index + 1, argument)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use ca_core::ports::{StoreError, StoreResult};
    use ca_testkit::SeededRng;
    use rusqlite::{Connection, StatementStatus, ToSql};

    use super::{MOST_PARAMETERS, Row, Sql, every, first, only, run};
    use crate::SqliteStore;

    fn connection() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE jobs (id TEXT, kind TEXT)").unwrap();
        connection
    }

    /// What SQLite says of a statement's parameters, and what was read from its text.
    fn parameters(connection: &Connection, text: &str) -> (Vec<String>, Vec<String>) {
        let statement = connection.prepare(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let names = (1..=statement.parameter_count()).map(|place| statement.parameter_name(place).unwrap().to_owned());
        let sql = Sql::new(text);
        (names.collect(), sql.numbers.iter().take(sql.parameters).map(|number| format!("${number}")).collect())
    }

    #[test]
    fn arguments_go_by_their_number_not_by_their_place() {
        let connection = connection();
        let sql = Sql::new("INSERT INTO jobs (kind, id) VALUES ($2, $1)");
        assert_eq!(run(&connection, &sql, &[&"the id", &"the kind"]).unwrap(), 1);
        let read = |row: &Row<'_>| Ok((row.get::<String>("id")?, row.get::<String>("kind")?));
        let found = first(&connection, &Sql::new("SELECT id, kind FROM jobs"), &[], read).unwrap();
        assert_eq!(found, Some(("the id".to_owned(), "the kind".to_owned())));
    }

    #[test]
    fn parameters_are_read_as_sqlite_reads_them() {
        let connection = connection();
        let texts = [
            ("SELECT 1", 0),
            ("SELECT id FROM jobs WHERE id=$1", 1),
            ("SELECT id FROM jobs WHERE id = $2 AND (kind = $10 OR kind = $1 OR id = $2) LIMIT $9", 4),
            ("SELECT '$3', 'it''s $4', \"id\" AS \"$5: i64\", 'é$6', x'24' FROM jobs WHERE kind = 'é' || $1||$2", 2),
            ("SELECT id AS a$3, kind AS é$4 FROM jobs WHERE id=-$2 AND kind IN($1,$2)", 2),
        ];
        for (text, count) in texts {
            let (names, read) = parameters(&connection, text);
            assert_eq!(names, read, "{text}");
            assert_eq!(read.len(), count, "{text}");
        }
    }

    #[test]
    fn parameters_of_every_committed_statement_are_read_as_sqlite_reads_them() {
        let connection = Connection::open_in_memory().unwrap();
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = |folder: &str| std::fs::read_dir(here.join(folder)).unwrap().map(|file| file.unwrap().path());
        let mut migrations: Vec<_> = files("migrations").collect();
        migrations.sort();
        for migration in migrations {
            connection.execute_batch(&std::fs::read_to_string(migration).unwrap()).unwrap();
        }
        let mut statements = 0;
        for file in files(".sqlx") {
            let data: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
            let text = data["query"].as_str().unwrap();
            let (names, read) = parameters(&connection, text);
            assert_eq!(names, read, "{text}");
            statements += 1;
        }
        assert!(statements > 100, "only {statements} were seen");
    }

    /// What SQLite likes to plan by the value that is bound: a limit, a partial index's condition, a pattern.
    const PLANNED_BY_VALUE: [&str; 3] = [
        "SELECT seq FROM requests WHERE ended_at IS NULL ORDER BY seq LIMIT $1",
        "SELECT seq FROM attempts WHERE state = $1 AND at > 0",
        "SELECT id FROM accounts WHERE id LIKE $1",
    ];

    fn run_often(connection: &Connection) -> StoreResult<()> {
        for text in PLANNED_BY_VALUE {
            for value in 0..20 {
                every(connection, &Sql::new(text), &[&value], |_| Ok(()))?;
            }
            let statement = connection.prepare_cached(text).unwrap();
            assert_eq!(statement.get_status(StatementStatus::Run), 20, "{text}");
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{text}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn no_statement_is_prepared_anew_for_what_is_bound() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open(folder.path().join("db"), Arc::new(SeededRng::new(1))).await.unwrap();
        store.write(|tx| run_often(&tx.connection)).await.unwrap();
        store.readers.look(run_often).unwrap();
    }

    #[test]
    fn an_argument_that_is_missing_is_an_error_and_nothing_is_written() {
        let connection = connection();
        let many: String = (1..=MOST_PARAMETERS + 1).map(|number| format!(", ${number}")).collect();
        let too_many = format!("INSERT INTO jobs (id) VALUES (concat($1{many}))");
        // The last four are no text for PostgreSQL: what they want is not known.
        let texts = [
            "INSERT INTO jobs (kind, id) VALUES ($2, $3)",
            &too_many,
            "INSERT INTO jobs (kind, id) VALUES ($1, ?)",
            "INSERT INTO jobs (kind, id) VALUES ($1, :id)",
            "INSERT INTO jobs (kind, id) VALUES ($1, /* $2 */ 'the id')",
            "INSERT INTO jobs (kind, id) VALUES ($1, $0)",
        ];
        for text in texts {
            let written = run(&connection, &Sql::new(text), &[&"the id", &"the kind"]);
            assert!(matches!(written, Err(StoreError::Unavailable(_))), "{text}: {written:?}");
        }
        let count = Sql::new("SELECT count(*) AS jobs FROM jobs");
        assert_eq!(only(&connection, &count, &[], |row| row.get::<i64>("jobs")).unwrap(), 0);
    }

    #[test]
    fn as_many_parameters_as_may_be() {
        let connection = connection();
        let sum: String = (1..=MOST_PARAMETERS).rev().map(|number| format!("+ {number} * ${number} ")).collect();
        let arguments: Vec<&dyn ToSql> = vec![&1; MOST_PARAMETERS];
        let text = format!("SELECT 0 {sum} AS sum");
        let sum = only(&connection, &Sql::new(&text), &arguments, |row| row.get::<i64>("sum")).unwrap();
        assert_eq!(sum, (1..=MOST_PARAMETERS as i64).sum::<i64>());
    }

    #[test]
    fn columns_are_read_in_any_order_and_again() {
        let connection = connection();
        let read = |row: &Row<'_>| {
            let columns = ["a", "b", "c", "b", "a", "a", "C", "c"];
            let read = columns.iter().map(|column| row.get::<i64>(column)).collect::<Result<Vec<_>, _>>()?;
            Ok((read, row.octets("text")?, row.get::<i64>("d"), row.get::<i64>("a")?))
        };
        let rows = every(&connection, &Sql::new("SELECT 1 AS a, 2 AS b, 3 AS c, 'x' AS text UNION ALL SELECT 4, 5, 6, 'y'"), &[], read);
        let rows = rows.unwrap();
        assert_eq!(rows.len(), 2);
        for ((read, text, missing, again), (a, b, c, octets)) in rows.into_iter().zip([(1, 2, 3, b"x"), (4, 5, 6, b"y")]) {
            assert_eq!(read, [a, b, c, b, a, a, c, c]);
            assert_eq!(text, octets);
            assert!(matches!(missing, Err(StoreError::Damaged(_))), "{missing:?}");
            assert_eq!(again, a);
        }
    }

    #[test]
    fn a_column_of_another_type_or_a_row_that_is_missing_says_that_the_store_is_damaged() {
        let connection = connection();
        run(&connection, &Sql::new("INSERT INTO jobs (id) VALUES ($1)"), &[&"text"]).unwrap();
        let ids = Sql::new("SELECT id FROM jobs");
        let number = first(&connection, &ids, &[], |row| row.get::<i64>("id"));
        assert!(matches!(number, Err(StoreError::Damaged(_))), "{number:?}");
        let row = only(&connection, &Sql::new("SELECT id FROM jobs WHERE id = 'other'"), &[], |row| row.get::<String>("id"));
        assert!(matches!(row, Err(StoreError::Damaged(_))), "{row:?}");
        assert_eq!(every(&connection, &ids, &[], |row| row.get::<String>("id")).unwrap(), ["text"]);
    }
}
