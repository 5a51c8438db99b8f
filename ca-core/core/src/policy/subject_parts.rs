//! Parts of a subject, as policies fix them and grants give them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::profile::{Attribute, MAX_GROUPS};

/// Values of attributes: in TOML `{ C = "GB", OU = ["Payments", "Cards"] }`. Each value is one of its attribute.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Members", into = "BTreeMap<Attribute, Values>")]
pub struct SubjectParts(BTreeMap<Attribute, Vec<String>>);

/// One value, or a list.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

impl SubjectParts {
    /// Takes attributes in any order. The values of one stand sorted, so that the same parts give the same subject.
    ///
    /// # Errors
    /// When a value is not one of its attribute or stands twice, or an attribute has more than 32.
    pub fn new(parts: impl IntoIterator<Item = (Attribute, String)>) -> Result<Self, String> {
        let mut found: BTreeMap<Attribute, Vec<String>> = BTreeMap::new();
        for (attribute, text) in parts {
            attribute.check(&text).map_err(|e| format!("{attribute}: {e}"))?;
            let values = found.entry(attribute).or_default();
            if values.len() == MAX_GROUPS {
                return Err(format!("{attribute}: it has more than {MAX_GROUPS} values"));
            }
            match values.binary_search(&text) {
                Ok(_) => return Err(format!("{attribute}: `{text}` stands twice")),
                Err(at) => values.insert(at, text),
            }
        }
        Ok(Self(found))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values of an attribute; none: it is not among the parts.
    pub fn get(&self, attribute: Attribute) -> Option<&[String]> {
        self.0.get(&attribute).map(Vec::as_slice)
    }

    /// Each attribute with its values, sorted by attribute.
    pub fn iter(&self) -> impl Iterator<Item = (Attribute, &[String])> {
        self.0.iter().map(|(attribute, values)| (*attribute, values.as_slice()))
    }
}

/// The members of the document as they stand: JSON can have one twice, which a map would pass over.
struct Members(Vec<(Attribute, Values)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("attributes with their values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(Attribute, Values)> = Vec::new();
                while let Some((attribute, values)) = map.next_entry()? {
                    if members.iter().any(|(known, _)| *known == attribute) {
                        return Err(de::Error::custom(format!("{attribute}: it stands twice (hint: several values are a list)")));
                    }
                    members.push((attribute, values));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl TryFrom<Members> for SubjectParts {
    type Error = String;
    fn try_from(members: Members) -> Result<Self, String> {
        let mut parts = Vec::new();
        for (attribute, values) in members.0 {
            match values {
                Values::One(text) => parts.push((attribute, text)),
                Values::Several(list) if list.is_empty() => return Err(format!("{attribute}: the list is empty (hint: leave it out)")),
                Values::Several(list) => parts.extend(list.into_iter().map(|text| (attribute, text))),
            }
        }
        Self::new(parts)
    }
}

impl From<SubjectParts> for BTreeMap<Attribute, Values> {
    fn from(parts: SubjectParts) -> Self {
        let values = |mut list: Vec<String>| if list.len() == 1 { Values::One(list.swap_remove(0)) } else { Values::Several(list) };
        parts.0.into_iter().map(|(attribute, list)| (attribute, values(list))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_values_or_lists() {
        let check = |json: &str| {
            let parts: SubjectParts = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&parts).unwrap(), json);
        };
        check(r#"{"C":"GB","O":"Bank"}"#);
        check(r#"{"O":["a","b"],"CN":"x"}"#);
        let unsorted: SubjectParts = serde_json::from_str(r#"{"O":["b","a"]}"#).unwrap();
        assert_eq!(unsorted.get(Attribute::Organization).unwrap(), ["a", "b"]);
        check("{}");
        for bad in
            [r#"{"C":"gb"}"#, r#"{"X":"y"}"#, r#"{"O":[]}"#, r#"{"O":""}"#, r#"{"O":7}"#, r#"{"O":"a","O":"b"}"#, r#"{"O":["a","a"]}"#]
        {
            assert!(serde_json::from_str::<SubjectParts>(bad).is_err(), "{bad}");
        }
        let groups = |count: usize| SubjectParts::new((0..count).map(|i| (Attribute::Organization, format!("g{i}"))));
        assert!(groups(MAX_GROUPS).is_ok() && groups(MAX_GROUPS + 1).is_err());
    }
}
