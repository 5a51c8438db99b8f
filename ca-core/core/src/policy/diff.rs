//! What changes from one policy to the next, by meaning: the order of lines and tables does not count.

use std::collections::BTreeSet;

use toml::Value;

use super::Policy;

/// One difference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PolicyChange {
    /// Where: `authority.demo.names`. Entries with a name stand under it.
    pub place: String,
    /// The value, as TOML writes it.
    pub value: String,
    /// Whether the later policy has it; else the earlier one had it.
    pub added: bool,
}

impl std::fmt::Display for PolicyChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} = {}", if self.added { '+' } else { '-' }, self.place, self.value)
    }
}

/// Everything that only one of the two says, in order of place; what was there comes before what takes its place.
pub fn policy_changes(before: &Policy, after: &Policy) -> Vec<PolicyChange> {
    let (before, after) = (leaves(before), leaves(after));
    let change = |(place, value): &(String, String), added| PolicyChange { place: place.clone(), value: value.clone(), added };
    let gone = before.difference(&after).map(|leaf| change(leaf, false));
    let new = after.difference(&before).map(|leaf| change(leaf, true));
    let mut changes: Vec<_> = gone.chain(new).collect();
    changes.sort_by(|a, b| (&a.place, a.added, &a.value).cmp(&(&b.place, b.added, &b.value)));
    changes
}

fn leaves(policy: &Policy) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let value = Value::try_from(policy).expect("a policy has a TOML form: it came from one");
    walk(String::new(), &value, &mut found);
    found
}

fn walk(place: String, value: &Value, found: &mut BTreeSet<(String, String)>) {
    let below = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    match value {
        Value::Table(table) => table.iter().for_each(|(name, value)| walk(below(name), value, found)),
        // A list is a set here: no list of a policy has an order that counts.
        Value::Array(list) => {
            for value in list {
                match value.get("name").and_then(Value::as_str) {
                    Some(name) => walk(below(name), value, found),
                    None => walk(place.clone(), value, found),
                }
            }
        }
        leaf => drop(found.insert((place, leaf.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_found_by_meaning() {
        let policy = |version: u64, names: &str, more: &str| {
            let text = format!(
                "version = {version}\n[[authority]]\nname = \"a\"\nkey_sha256 = \"{}\"\nnames = [{names}]\nmax_per_hour = 1\ncrl_validity = 20\ncrl_interval = 10\n{more}",
                "00".repeat(32)
            );
            Policy::parse(&text).unwrap()
        };
        let one = policy(1, r#""dns:x.test", "dns:y.test""#, "");
        assert_eq!(policy_changes(&one, &policy(1, r#""dns:y.test", "dns:x.test""#, "")), []);
        let two = policy(2, r#""dns:x.test", "dns:*.z.test""#, "[authority.profile.client]\nshape = \"client\"\nlifetime = 60\n");
        let shown: Vec<String> = policy_changes(&one, &two).iter().map(ToString::to_string).collect();
        let expected = [
            "- authority.a.names = \"dns:y.test\"",
            "+ authority.a.names = \"dns:*.z.test\"",
            "+ authority.a.profile.client.lifetime = 60",
            "+ authority.a.profile.client.shape = \"client\"",
            "+ authority.a.profile.client.subject_cn = false",
            "- version = 1",
            "+ version = 2",
        ];
        assert_eq!(shown, expected);
    }
}
