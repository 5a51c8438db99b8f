use super::*;

fn transcript() -> Transcript {
    let mut transcript = Transcript::default();
    for i in 0..3 {
        let entry = TranscriptEvent::Exception { what: format!("event {i}"), disposition: "noted".to_owned() };
        let line = transcript.next(Timestamp::from_unix(i), entry);
        transcript.push(line);
    }
    let line = transcript.next(Timestamp::from_unix(9), TranscriptEvent::Closed { files: BTreeMap::new() });
    transcript.push(line);
    transcript
}

fn text(transcript: &Transcript) -> String {
    transcript.lines().iter().map(|l| String::from_utf8(l.to_bytes()).unwrap()).collect()
}

#[test]
fn every_byte_counts() {
    let transcript = transcript();
    let text = text(&transcript);
    assert_eq!(Transcript::parse(&text).unwrap(), transcript);
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let changed = String::from_utf8(bytes).unwrap();
        assert!(Transcript::parse(&changed).is_err(), "byte {at} of {text:?}");
    }
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for bad in [lines[1..].concat(), [lines[0], lines[2]].concat(), format!("{text}{}", lines[0]), text.trim_end().to_owned()] {
        assert!(Transcript::parse(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_torn_line_is_split_off() {
    assert_eq!(Transcript::split_torn(b"a\nb\nc"), (&b"a\nb\n"[..], &b"c"[..]));
    assert_eq!(Transcript::split_torn(b"a"), (&b""[..], &b"a"[..]));
    assert_eq!(Transcript::split_torn(b""), (&b""[..], &b""[..]));
}
