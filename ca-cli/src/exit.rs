//! Exit codes, which scripts rely on, and errors that carry one.

pub(crate) use ca_service::exit::*;
