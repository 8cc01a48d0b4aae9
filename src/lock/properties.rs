//! What has to hold whatever is parsed from files, keys and sequencers. Tried here on texts that were good before
//! something was done to them, in every run of the tests; and by the fuzzer (fuzz/), which includes this file, for
//! as long as somebody lets it.

use crate::lock::entry::{Entry, LOCK_DELAY_MAX, Terms};
use crate::lock::key::Prefix;
use crate::lock::name::LockName;
use crate::lock::ratchet::Seen;
use crate::lock::runner::RunnerLine;
use crate::lock::sequencer::Sequencer;
use crate::lock::token::Token;

/// A sequencer comes from another host. Whatever it says, it is refused or read as it would be written.
pub fn sequencer(text: &str) {
    let Ok(sequencer) = text.parse::<Sequencer>() else {
        return;
    };
    assert!(!sequencer.names.is_empty());
    let again: Sequencer = sequencer.to_string().parse().expect("it was one");
    assert_eq!(again, sequencer);
    let keys = sequencer.keys(&Prefix::default());
    assert_eq!(keys.len(), sequencer.names.len());
    for key in keys {
        assert!(key.starts_with("/leasehold/"));
    }
}

/// A token is typed, or comes from the environment.
pub fn token(text: &str) {
    match text.parse::<Token>() {
        Ok(token) => assert!(token.get() > 0),
        Err(error) => assert!(!error.to_string().chars().any(char::is_control)),
    }
}

/// A state file can hold anything. What is believed is exactly what we would have written.
pub fn state_line(bytes: &[u8]) {
    if let Ok(seen) = Seen::parse(bytes) {
        assert_eq!(seen.to_line().as_bytes(), bytes);
    }
}

/// The lock beside a state file may be anybody's, and names whom root signals. What is believed is exactly what we
/// would have written.
pub fn runner_line(bytes: &[u8]) {
    if let Some(line) = RunnerLine::parse(bytes) {
        assert_eq!(line.to_string().as_bytes(), bytes);
        assert!(line.front.0 > 1 && line.manager.0 > 1);
    }
}

/// The value of a key is another host's text: bounded and harmless right where it is parsed.
pub fn entry(bytes: &[u8]) {
    assert!(Terms::parse(bytes).lock_delay <= LOCK_DELAY_MAX);
    if let Some(entry) = Entry::parse(bytes) {
        for text in [&entry.host, &entry.user, &entry.program, &entry.reason] {
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
        let again = Entry::parse(&entry.to_json()).expect("it was one");
        assert_eq!(again.limit, entry.limit);
    }
}

/// Keys below a lock can be anybody's: entries are told from the rest, and names and prefixes hold no surprises.
pub fn key(prefix: &str, name: &str, key: &[u8]) {
    let Ok(prefix) = prefix.parse::<Prefix>() else {
        return;
    };
    let Ok(name) = name.parse::<LockName>() else {
        return;
    };
    let entries = prefix.entries(&name);
    if let Some(id) = Prefix::last_segment(&entries, key) {
        assert_eq!(format!("{entries}{id}").as_bytes(), key);
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    const SEQUENCERS: &[&str] = &[
        "1:cafe:exclusive:33:beef:deploy/prod",
        "1:cafe:shared:33:beef:a,b:c,d",
        "1:ffffffffffffffff:slots:9223372036854775807:7fffffffffffffff:a",
        "1:0:exclusive:1:1:=,@,+,-",
        "2:cafe:exclusive:33:beef:a",
    ];
    const STATES: &[&str] = &[
        "leasehold-fence 1 cafe 34 395226d6\n",
        "leasehold-fence 1 - 9223372036854775807 00000000\n",
        "leasehold-fence 2 cafe 34 0 more\n",
    ];
    const RUNNERS: &[&str] = &[
        "leasehold-lock 1 33 4711 123456 4713 123457\n",
        "leasehold-lock 1 9223372036854775807 2 0 2147483647 18446744073709551615\n",
    ];
    const ENTRIES: &[&str] = &[
        r#"{"v":1,"limit":1,"host":"build7","user":"deploy","pid":4711,"program":"a","reason":"release","since":"2026-01-01T00:00:00Z","queue":"fifo","lock_delay_ms":2000}"#,
        r#"{"v":2,"limit":18446744073709551615,"host":"\u001b[31m\u0000"}"#,
        r#"{"lock_delay_ms":-1}"#,
        r#"[[[[{"v":1e400}]]]]"#,
        r#"{"v":1,"limit":"unlimited","host":"a","user":"b","pid":1,"program":"c","reason":"d","since":"e","queue":"fifo","lock_delay_ms":0}"#,
    ];
    const KEYS: &[&str] = &["/leasehold/a/beef", "/leasehold/a/b/beef", "/leasehold/a//"];

    /// One thing that is done to a text.
    #[derive(Clone, Debug)]
    enum Edit {
        Set(Index, u8),
        Insert(Index, u8),
        Remove(Index),
        Cut(Index),
        Repeat(Index, Index),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        // Mostly what means something, since most other bytes are refused at once.
        let byte = prop_oneof![select(&b":,/- \n\"{}[]\\0129afx~."[..]), any::<u8>()];
        let at = any::<Index>;
        prop_oneof![
            (at(), byte.clone()).prop_map(|(at, byte)| Edit::Set(at, byte)),
            (at(), byte).prop_map(|(at, byte)| Edit::Insert(at, byte)),
            at().prop_map(Edit::Remove),
            at().prop_map(Edit::Cut),
            (at(), at()).prop_map(|(from, to)| Edit::Repeat(from, to)),
        ]
    }

    fn edited(text: &str, edits: &[Edit]) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        for edit in edits {
            // There is always a place behind the last byte.
            let (places, count) = (bytes.len() + 1, bytes.len());
            match edit {
                Edit::Insert(at, byte) => bytes.insert(at.index(places), *byte),
                Edit::Cut(at) => bytes.truncate(at.index(places)),
                Edit::Repeat(from, to) => {
                    let (from, to) = (from.index(places), to.index(places));
                    bytes.extend_from_within(from.min(to)..from.max(to));
                }
                Edit::Set(..) | Edit::Remove(_) if bytes.is_empty() => {}
                Edit::Set(at, byte) => bytes[at.index(count)] = *byte,
                Edit::Remove(at) => drop(bytes.remove(at.index(count))),
            }
        }
        bytes
    }

    fn nearly(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let edits = proptest::collection::vec(edit(), 0..6);
        (select(texts), edits).prop_map(|(text, edits)| edited(text, &edits))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn sequencers_that_are_nearly_right(bytes in nearly(SEQUENCERS)) {
            sequencer(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn tokens_that_are_nearly_right(bytes in nearly(&["33", "9223372036854775807", "-1", "0"])) {
            token(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn state_files_that_are_nearly_right(bytes in nearly(STATES)) {
            state_line(&bytes);
        }

        #[test]
        fn runners_that_are_nearly_right(bytes in nearly(RUNNERS)) {
            runner_line(&bytes);
        }

        #[test]
        fn entries_that_are_nearly_right(bytes in nearly(ENTRIES)) {
            entry(&bytes);
        }

        #[test]
        fn keys_that_are_nearly_right(bytes in nearly(KEYS), name in nearly(&["a", "a/b"])) {
            key("/leasehold/", &String::from_utf8_lossy(&name), &bytes);
        }
    }
}
