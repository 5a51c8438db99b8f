//! The profiles tested: chains judged by other implementations, and a counter-example to each rule of the lints.

mod ceremony;
mod chains;
mod counterexamples;
mod document;
mod fixtures;
mod keys;
mod shapes;
mod verifiers;
