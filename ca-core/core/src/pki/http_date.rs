//! IMF-fixdate, the form of times in HTTP headers (RFC 9110 §5.6.7).

use super::Timestamp;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Timestamp {
    /// The form of HTTP headers, to the second.
    pub fn to_http_date(self) -> String {
        // 1970-01-01 was a Thursday.
        let day = usize::try_from(self.unix().div_euclid(86_400).rem_euclid(7)).unwrap_or_default();
        let text = self.to_rfc3339();
        let month = text[5..7].parse::<usize>().ok().and_then(|m| MONTHS.get(m.wrapping_sub(1))).unwrap_or(&MONTHS[0]);
        format!("{}, {} {month} {} {} GMT", DAYS[day], &text[8..10], &text[..4], &text[11..19])
    }

    /// Reads IMF-fixdate; the obsolete forms are not read, which makes a condition in them not hold.
    pub fn parse_http_date(text: &str) -> Option<Self> {
        let rest = text.get(5..)?.strip_suffix(" GMT")?;
        let mut parts = rest.split(' ');
        let (day, month, year, clock) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let month = MONTHS.iter().position(|m| *m == month)? + 1;
        let at = Self::parse_rfc3339(&format!("{year}-{month:02}-{day}T{clock}Z")).ok()?;
        (at.to_http_date() == text).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_round_trip() {
        for (unix, text) in [(0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT")] {
            assert_eq!(Timestamp::from_unix(unix).to_http_date(), text);
            assert_eq!(Timestamp::parse_http_date(text), Some(Timestamp::from_unix(unix)));
        }
        for bad in ["", "Sun, 06 Nov 1994 08:49:37", "Mon, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "ü, é GMT"] {
            assert_eq!(Timestamp::parse_http_date(bad), None, "{bad}");
        }
    }
}
