//! The `auto-renewal` object of a newOrder request (RFC 8739 §3.1.1).

use serde_json::{Map, Value};

use crate::model::{AutoRenewal, Problem, ProblemType};
use crate::pki::Timestamp;

/// Reads the object in a newOrder payload; none: the order does not renew itself. Other members are passed over, as in
/// the order itself.
///
/// # Errors
/// When a member is missing or of the wrong type, or stands beside `notBefore` or `notAfter`.
pub(super) fn parse(payload: &Map<String, Value>) -> Result<Option<AutoRenewal>, Problem> {
    let malformed = |detail: String| Problem::new(ProblemType::Malformed, detail);
    let object = match payload.get("auto-renewal") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(object)) => object,
        Some(_) => return Err(malformed("`auto-renewal` is not an object".to_owned())),
    };
    // "The optional notBefore and notAfter fields […] MUST NOT be present in a STAR order."
    if let Some(name) = ["notBefore", "notAfter"].into_iter().find(|name| payload.contains_key(*name)) {
        return Err(malformed(format!("`{name}` does not go with `auto-renewal` (hint: give start-date and end-date)")));
    }
    let time = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Timestamp::parse_rfc3339(text).map(Some).map_err(|e| malformed(format!("`{name}`: {e}"))),
        Some(_) => Err(malformed(format!("`{name}` is not a string"))),
    };
    let seconds = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| malformed(format!("`{name}` is not a number of seconds"))),
    };
    let missing = |name: &str| malformed(format!("`auto-renewal` has no `{name}`"));
    Ok(Some(AutoRenewal {
        start_date: time("start-date")?,
        end_date: time("end-date")?.ok_or_else(|| missing("end-date"))?,
        lifetime: seconds("lifetime")?.filter(|lifetime| *lifetime > 0).ok_or_else(|| missing("lifetime"))?,
        lifetime_adjust: seconds("lifetime-adjust")?.unwrap_or(0),
        allow_certificate_get: match object.get("allow-certificate-get") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(allow)) => *allow,
            Some(_) => return Err(malformed("`allow-certificate-get` is not true or false".to_owned())),
        },
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(payload: Value) -> Result<Option<AutoRenewal>, String> {
        let Value::Object(payload) = payload else { unreachable!("an object below") };
        parse(&payload).map_err(|problem| problem.detail)
    }

    #[test]
    fn a21_the_object_is_read_strictly() {
        let whole = json!({
            "start-date": "2016-01-10T00:00:00Z", "end-date": "2016-01-20T00:00:00Z", "lifetime": 345600,
            "lifetime-adjust": 259200, "allow-certificate-get": true,
        });
        let terms = AutoRenewal {
            start_date: Some(Timestamp::from_unix(1_452_384_000)),
            end_date: Timestamp::from_unix(1_453_248_000),
            lifetime: 345_600,
            lifetime_adjust: 259_200,
            allow_certificate_get: true,
        };
        assert_eq!(read(json!({ "auto-renewal": whole })), Ok(Some(terms.clone())));
        let least = json!({ "end-date": "2016-01-20T00:00:00Z", "lifetime": 345600 });
        let spare = AutoRenewal { start_date: None, lifetime_adjust: 0, allow_certificate_get: false, ..terms };
        assert_eq!(read(json!({ "auto-renewal": least })), Ok(Some(spare)));
        assert_eq!(read(json!({})), Ok(None));

        let refused = |payload: Value, part: &str| {
            let got = read(payload);
            assert!(got.as_ref().is_err_and(|e| e.contains(part)), "{got:?}, not {part}");
        };
        let with = |name: &str, value: Value| {
            let mut object = least.clone();
            object[name] = value;
            json!({ "auto-renewal": object })
        };
        refused(json!({ "auto-renewal": [] }), "not an object");
        refused(json!({ "auto-renewal": {} }), "no `end-date`");
        refused(with("end-date", json!("soon")), "`end-date`");
        refused(with("end-date", json!(5)), "not a string");
        for lifetime in [json!(0), Value::Null] {
            refused(with("lifetime", lifetime), "no `lifetime`");
        }
        for lifetime in [json!(-1), json!(1.5), json!("60")] {
            refused(with("lifetime", lifetime), "not a number of seconds");
        }
        refused(with("lifetime-adjust", json!(-1)), "not a number of seconds");
        refused(with("allow-certificate-get", json!("yes")), "not true or false");
        for name in ["notBefore", "notAfter"] {
            let mut payload = json!({ "auto-renewal": least });
            payload[name] = json!("2016-01-10T00:00:00Z");
            refused(payload, name);
        }
    }
}
