//! What changes from one policy to the next, by meaning. Officers sign what they read here, so nothing that differs is
//! left out: policies that are not equal differ in a line.

use std::collections::BTreeMap;

use toml::Value;

use super::Policy;

/// One difference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PolicyChange {
    /// Where: `authority.demo.names`. Entries with a name stand under it, `operator.ops#2` the second of that name; tables
    /// without one under their place in the list, `authority.demo.challenge.2`. `… (order)` is how the entries of a list
    /// that both have stand in it.
    pub place: String,
    /// The value, as TOML writes it; of an order, the entries.
    pub value: String,
    /// Whether the later policy has it; else the earlier one had it.
    pub added: bool,
}

impl std::fmt::Display for PolicyChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} = {}", if self.added { '+' } else { '-' }, self.place, self.value)
    }
}

/// Everything that tells the two apart, in order of place; what was there comes before what takes its place.
///
/// Entries of a list meet those of their name, or those that say the same. Tables without a name, as challenge zones are,
/// meet by their place, counted from 1. Where what both lists have stands in another order, that is a change too: the
/// first zone that fits counts.
pub fn policy_changes(before: &Policy, after: &Policy) -> Vec<PolicyChange> {
    let document = |policy| Value::try_from(policy).expect("a policy has a TOML form: it came from one");
    let mut changes = Changes(Vec::new());
    changes.compare("", &document(before), &document(after));
    let Changes(mut changes) = changes;
    changes.sort_by(|a, b| (&a.place, a.added, &a.value).cmp(&(&b.place, b.added, &b.value)));
    changes
}

/// What tells an entry of a list from the others: its name, or else all that it says; and the how-many-th such it is.
type Key = (String, usize);

struct Changes(Vec<PolicyChange>);

impl Changes {
    fn line(&mut self, place: &str, value: String, added: bool) {
        self.0.push(PolicyChange { place: place.to_owned(), value, added });
    }

    fn compare(&mut self, place: &str, before: &Value, after: &Value) {
        match (before, after) {
            (before, after) if before == after => {}
            (Value::Table(before), Value::Table(after)) => {
                for (key, value) in before {
                    match after.get(key) {
                        Some(other) => self.compare(&below(place, key), value, other),
                        None => self.whole(&below(place, key), value, false),
                    }
                }
                for (key, value) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
                    self.whole(&below(place, key), value, true);
                }
            }
            (Value::Array(before), Value::Array(after)) => match (keyed(before), keyed(after)) {
                (Some(before), Some(after)) => self.compare_keyed(place, &before, &after),
                _ => self.compare_places(place, before, after),
            },
            (before, after) => {
                self.whole(place, before, false);
                self.whole(place, after, true);
            }
        }
    }

    fn compare_keyed(&mut self, place: &str, before: &[(Key, &Value)], after: &[(Key, &Value)]) {
        let [old, new] = [before, after].map(|list| list.iter().map(|(key, value)| (key, *value)).collect::<BTreeMap<_, _>>());
        for (key, value) in &old {
            match new.get(key) {
                Some(other) if name(value).is_some() => self.compare(&named(place, key), value, other),
                Some(_) => {}
                None => self.entry(place, key, value, false),
            }
        }
        for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
            self.entry(place, key, value, true);
        }
        let before: Vec<_> = before.iter().map(|(key, _)| key).filter(|key| new.contains_key(key)).collect();
        let after: Vec<_> = after.iter().map(|(key, _)| key).filter(|key| old.contains_key(key)).collect();
        let (before, after, _) = without_ends(&before, &after);
        for (list, added) in [(before, false), (after, true)].into_iter().filter(|(list, _)| !list.is_empty()) {
            // One line: the order is what it says.
            let entries: Vec<_> = list.iter().map(|(key, _)| key.as_str()).collect();
            self.line(&format!("{place} (order)"), entries.join(", "), added);
        }
    }

    /// What both lists begin and end with is the same, wherever it stands; the rest meets by its place.
    fn compare_places(&mut self, place: &str, before: &[Value], after: &[Value]) {
        let (before, after, first) = without_ends(before, after);
        for i in 0..before.len().max(after.len()) {
            let place = format!("{place}.{}", first + i + 1);
            match (before.get(i), after.get(i)) {
                (Some(before), Some(after)) => self.compare(&place, before, after),
                (before, after) => {
                    before.iter().for_each(|value| self.whole(&place, value, false));
                    after.iter().for_each(|value| self.whole(&place, value, true));
                }
            }
        }
    }

    /// All that a value says which only one of the two has.
    fn whole(&mut self, place: &str, value: &Value, added: bool) {
        match value {
            Value::Table(table) if !table.is_empty() => {
                table.iter().for_each(|(key, value)| self.whole(&below(place, key), value, added));
            }
            Value::Array(list) if !list.is_empty() => match keyed(list) {
                Some(list) => list.iter().for_each(|(key, value)| self.entry(place, key, value, added)),
                None => list.iter().enumerate().for_each(|(i, value)| self.whole(&format!("{place}.{}", i + 1), value, added)),
            },
            line => self.line(place, line.to_string(), added),
        }
    }

    /// An entry of a keyed list.
    fn entry(&mut self, place: &str, key: &Key, value: &Value, added: bool) {
        match name(value) {
            Some(_) => self.whole(&named(place, key), value, added),
            None => self.line(place, value.to_string(), added),
        }
    }
}

/// The entries with what tells them apart; none: the list has tables without a name that take more than a line.
fn keyed(list: &[Value]) -> Option<Vec<(Key, &Value)>> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let key = |value| match name(value) {
        Some(name) => Some(segment(name)),
        None => is_a_line(value).then(|| value.to_string()),
    };
    list.iter()
        .map(|value| {
            let key = key(value)?;
            let count = seen.entry(key.clone()).and_modify(|count| *count += 1).or_insert(1);
            Some(((key, *count), value))
        })
        .collect()
}

fn name(value: &Value) -> Option<&str> {
    value.get("name").and_then(Value::as_str)
}

/// A scalar, or a table of such, as an identifier is.
fn is_a_line(value: &Value) -> bool {
    match value {
        Value::Table(table) => table.values().all(|value| !value.is_table() && !value.is_array()),
        value => !value.is_array(),
    }
}

/// Both without what they begin and end with alike, and how much it was at the beginning.
pub fn without_ends<'a, T: PartialEq>(a: &'a [T], b: &'a [T]) -> (&'a [T], &'a [T], usize) {
    let first = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[first..], &b[first..]);
    let last = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    (&a[..a.len() - last], &b[..b.len() - last], first)
}

fn below(place: &str, key: &str) -> String {
    let key = segment(key);
    if place.is_empty() { key } else { format!("{place}.{key}") }
}

fn named(place: &str, (name, nth): &Key) -> String {
    if *nth == 1 { format!("{place}.{name}") } else { format!("{place}.{name}#{nth}") }
}

/// A key as TOML writes it, so that a dot in it is none between two.
fn segment(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { key.to_owned() } else { Value::from(key).to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::policy::{AuthorityPolicy, ChallengeZone, OperatorPolicy, OwnCertificate, Permission, ProfilePolicy};
    use crate::profile::LeafShape;

    fn policy(version: u64, names: &str, more: &str) -> Policy {
        let text = format!(
            "version = {version}\n[[authority]]\nname = \"a\"\nkey_sha256 = \"{}\"\nnames = [{names}]\nmax_per_hour = 1\ncrl_validity = 20\ncrl_interval = 10\n{more}",
            "00".repeat(32)
        );
        Policy::parse(&text).unwrap()
    }

    #[track_caller]
    fn check(before: &Policy, after: &Policy, expected: &[&str]) {
        let shown: Vec<String> = policy_changes(before, after).iter().map(ToString::to_string).collect();
        assert_eq!(shown, expected);
        let back = policy_changes(after, before);
        assert_eq!(back.len(), expected.len(), "the way back has as many");
    }

    #[test]
    fn changes_are_found_by_meaning() {
        let one = policy(1, r#""dns:x.test", "dns:y.test""#, "");
        check(&one, &one, &[]);
        let two = policy(2, r#""dns:x.test", "dns:*.z.test""#, "[authority.profile.client]\nshape = \"client\"\nlifetime = 60\n");
        check(
            &one,
            &two,
            &[
                "- authority.a.names = \"dns:y.test\"",
                "+ authority.a.names = \"dns:*.z.test\"",
                "+ authority.a.profile.client.lifetime = 60",
                "+ authority.a.profile.client.shape = \"client\"",
                "+ authority.a.profile.client.subject_cn = false",
                "- version = 1",
                "+ version = 2",
            ],
        );
    }

    const NAMES: &str = r#""dns:*.lab.test", "dns:*.pay.test", "dns:*.dmz.test""#;

    fn zone(name: &str, methods: &str, caa: &str) -> String {
        format!("[[authority.challenge]]\nnames = [\"dns:*.{name}.test\"]\nmethods = [{methods}]\ncaa = [{caa}]\n")
    }

    const ANY: &str = r#""http-01", "dns-01""#;
    const CA: &str = r#""ca.test""#;

    #[test]
    fn zones_are_compared_one_by_one() {
        let (lab, pay) = (zone("lab", ANY, CA), zone("pay", r#""dns-01""#, CA));
        let before = policy(2, NAMES, &format!("{lab}{pay}"));
        let looser = zone("pay", ANY, "");
        check(
            &before,
            &policy(3, NAMES, &format!("{lab}{looser}")),
            &[
                "- authority.a.challenge.2.caa = \"ca.test\"",
                "+ authority.a.challenge.2.methods = \"http-01\"",
                "- version = 2",
                "+ version = 3",
            ],
        );
        // What two zones say in all is the same.
        check(
            &before,
            &policy(2, NAMES, &format!("{}{}", zone("lab", r#""dns-01""#, CA), zone("pay", ANY, CA))),
            &["- authority.a.challenge.1.methods = \"http-01\"", "+ authority.a.challenge.2.methods = \"http-01\""],
        );
        // The first that fits counts.
        check(
            &before,
            &policy(2, NAMES, &format!("{pay}{lab}")),
            &[
                "- authority.a.challenge.1.methods = \"http-01\"",
                "- authority.a.challenge.1.names = \"dns:*.lab.test\"",
                "+ authority.a.challenge.1.names = \"dns:*.pay.test\"",
                "+ authority.a.challenge.2.methods = \"http-01\"",
                "- authority.a.challenge.2.names = \"dns:*.pay.test\"",
                "+ authority.a.challenge.2.names = \"dns:*.lab.test\"",
            ],
        );
        // A new one, and no word of those that it moves on.
        check(
            &before,
            &policy(2, NAMES, &format!("{}{lab}{pay}", zone("dmz", r#""dns-01""#, ""))),
            &["+ authority.a.challenge.1.methods = \"dns-01\"", "+ authority.a.challenge.1.names = \"dns:*.dmz.test\""],
        );
    }

    #[test]
    fn order_is_a_change_of_its_own() {
        let one = policy(1, NAMES, &zone("lab", ANY, ""));
        check(
            &one,
            &policy(1, NAMES, &zone("lab", r#""dns-01", "http-01""#, "")),
            &[
                "- authority.a.challenge.1.methods (order) = \"http-01\", \"dns-01\"",
                "+ authority.a.challenge.1.methods (order) = \"dns-01\", \"http-01\"",
            ],
        );
        // What stands where it did is left out of it.
        check(
            &one,
            &policy(1, r#""dns:*.new.test", "dns:*.pay.test", "dns:*.lab.test", "dns:*.dmz.test""#, &zone("lab", ANY, "")),
            &[
                "+ authority.a.names = \"dns:*.new.test\"",
                "- authority.a.names (order) = \"dns:*.lab.test\", \"dns:*.pay.test\"",
                "+ authority.a.names (order) = \"dns:*.pay.test\", \"dns:*.lab.test\"",
            ],
        );
    }

    #[test]
    fn entries_of_one_name_do_not_hide_each_other() {
        let operator = |name: &str, may: &[Permission]| OperatorPolicy { name: name.into(), key: "k".into(), may: may.to_vec() };
        let with = |operators: &[OperatorPolicy]| Policy { operators: operators.to_vec(), ..policy(1, "", "") };
        let (revoke, grant) = (&[Permission::Revoke][..], &[Permission::Grant][..]);
        check(
            &with(&[operator("ops", revoke), operator("ops", grant)]),
            &with(&[operator("ops", grant), operator("ops", revoke)]),
            &[
                "- operator.ops#2.may = \"grant\"",
                "+ operator.ops#2.may = \"revoke\"",
                "- operator.ops.may = \"revoke\"",
                "+ operator.ops.may = \"grant\"",
            ],
        );
        // A dot in a name is none between two.
        check(
            &with(&[operator("o.ps", revoke)]),
            &with(&[operator("o.ps", grant)]),
            &["- operator.\"o.ps\".may = \"revoke\"", "+ operator.\"o.ps\".may = \"grant\""],
        );
    }

    #[test]
    fn an_identifier_is_one_line() {
        let own = |names: &str| {
            let key = "11".repeat(32);
            let text = format!(
                "[[authority.own]]\nname = \"server\"\nshape = \"server\"\nkey_sha256 = \"{key}\"\nlifetime = 60\nnames = [{names}]\n"
            );
            policy(1, "", &text)
        };
        check(
            &own(r#"{ type = "dns", value = "a.test" }, { type = "ip", value = "10.0.0.1" }"#),
            &own(r#"{ type = "dns", value = "a.test" }, { type = "dns", value = "b.test" }"#),
            &[
                "- authority.a.own.server.names = { type = \"ip\", value = \"10.0.0.1\" }",
                "+ authority.a.own.server.names = { type = \"dns\", value = \"b.test\" }",
            ],
        );
    }

    /// Few values, so that lists repeat themselves and differ in order only.
    fn policies() -> impl Strategy<Value = Policy> {
        let names = || vec(select(vec!["dns:a.test", "dns:b.test"]), 0..3).prop_map(|all| all.iter().map(|n| n.parse().unwrap()).collect());
        let zone = (names(), vec(select(vec!["http-01", "dns-01"]), 0..3), vec(select(vec!["a.test", "b.test"]), 0..2)).prop_map(
            |(names, methods, caa): (Vec<_>, _, _)| {
                let mut zone: ChallengeZone =
                    serde_json::from_value(serde_json::json!({ "names": [], "methods": methods, "caa": caa })).unwrap();
                zone.names = names;
                zone
            },
        );
        let own =
            (select(vec!["ocsp", "server"]), vec(select(vec!["a.test", "10.0.0.1"]), 0..3)).prop_map(|(name, names)| OwnCertificate {
                name: name.to_owned(),
                shape: "server".to_owned(),
                names: names.iter().map(|n| crate::pki::Identifier::from_text(n).unwrap()).collect(),
                key_sha256: crate::pki::sha256(b""),
                lifetime: 60,
            });
        let profile = (select(vec!["p", "p.star"]), any::<bool>(), names()).prop_map(|(name, subject_cn, names)| {
            (name.to_owned(), ProfilePolicy { subject_cn, names, ..ProfilePolicy::new(LeafShape::Client, 60) })
        });
        let authority = (select(vec!["a", "b"]), names(), vec(zone, 0..3), vec(own, 0..3), vec(profile, 0..2)).prop_map(
            |(name, names, challenge_zones, own, profiles)| AuthorityPolicy {
                name: name.parse().unwrap(),
                names,
                challenge_zones,
                own,
                profiles: profiles.into_iter().collect(),
                ..policy(1, "", "").authorities.remove(0)
            },
        );
        let may = vec(select(vec![Permission::Grant, Permission::Revoke]), 0..3);
        let operator = (select(vec!["x", "x.y"]), select(vec!["k", "l"]), may).prop_map(|(name, key, may)| OperatorPolicy {
            name: name.into(),
            key: key.into(),
            may,
        });
        (vec(authority, 0..3), vec(operator, 0..3)).prop_map(|(authorities, operators)| Policy {
            version: 1,
            operator_bulk: 1,
            authorities,
            operators,
        })
    }

    /// A policy and the same with one part of another.
    fn neighbours() -> impl Strategy<Value = (Policy, Policy)> {
        (policies(), policies(), 0..6usize).prop_map(|(one, other, part)| {
            let mut two = one.clone();
            match (two.authorities.first_mut(), other.authorities.first()) {
                (Some(two), Some(other)) if part < 4 => match part {
                    0 => two.challenge_zones.clone_from(&other.challenge_zones),
                    1 => two.own.clone_from(&other.own),
                    2 => two.profiles.clone_from(&other.profiles),
                    _ => two.challenge_zones.reverse(),
                },
                _ if part == 4 => two.authorities.reverse(),
                _ => two.operators.clone_from(&other.operators),
            }
            (one, two)
        })
    }

    proptest! {
        #[test]
        fn policies_that_are_not_equal_differ_in_a_line((one, two) in neighbours(), other in policies()) {
            prop_assert_eq!(policy_changes(&one, &two).is_empty(), one == two);
            prop_assert_eq!(policy_changes(&one, &other).is_empty(), one == other);
        }
    }
}
