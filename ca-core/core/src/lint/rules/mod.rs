//! The rules about certificates, by what they are about.

mod algorithm;
mod alternative;
pub(super) mod chain;
mod constraints;
pub(super) mod fields;
mod keys;
mod policies;
pub(super) mod purpose;
mod qualified;
mod status;

use super::rule::Rule;

/// In the order of a certificate's fields.
pub(super) static ALL: &[&[Rule]] = &[
    fields::RULES,
    super::names::RULES,
    keys::RULES,
    purpose::RULES,
    alternative::RULES,
    status::RULES,
    policies::RULES,
    constraints::RULES,
    qualified::RULES,
    chain::RULES,
];

pub(super) use alternative::is_absolute;
