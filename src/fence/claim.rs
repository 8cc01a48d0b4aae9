//! Whose token it is: typed, or from the environment that `leasehold run` gave to its command. Pure.

use crate::config::Inherited;
use crate::environment::{SEQUENCER, TOKEN};
use crate::lock::entry::harmless;
use crate::lock::ratchet::Seen;
use crate::lock::sequencer::Sequencer;
use crate::lock::token::{Mode, Token};
use crate::outcome::Outcome;

/// The claim of `fence check`, `put` and `delete`.
///
/// # Errors
/// [`Outcome::Usage`].
pub fn sequencer(typed: Option<&str>, inherited: &Inherited) -> Result<Sequencer, Outcome> {
    match typed {
        Some(text) => parsed(text, "as typed"),
        None => match of_environment(inherited)? {
            Some(sequencer) => Ok(sequencer),
            None => Err(Outcome::Usage(format!(
                "whose token? ${SEQUENCER} is not set: run this inside leasehold run, or give the sequencer"
            ))),
        },
    }
}

/// The claim of `fence run`, and the sequencer where there is one. A bare number says nothing of its cluster.
///
/// # Errors
/// [`Outcome::Usage`].
pub fn ratchet(
    typed: Option<&str>,
    inherited: &Inherited,
) -> Result<(Seen, Option<Sequencer>), Outcome> {
    let sequencer = match typed {
        // Only a sequencer has colons.
        Some(text) if text.contains(':') => Some(parsed(text, "--token")?),
        Some(text) => return Ok((bare(text, "--token")?, None)),
        None => of_environment(inherited)?,
    };
    if let Some(sequencer) = sequencer {
        let exclusive = matches!(sequencer.mode, Mode::Exclusive);
        let seen = Seen {
            cluster: Some(sequencer.cluster),
            token: sequencer.token,
        };
        return if exclusive {
            Ok((seen, Some(sequencer)))
        } else {
            Err(Outcome::Usage(shared(sequencer.mode)))
        };
    }
    match inherited.variable(TOKEN) {
        Some(text) => Ok((bare(text, &format!("${TOKEN}"))?, None)),
        None => Err(Outcome::Usage(format!(
            "which token? neither ${SEQUENCER} nor ${TOKEN} is set: run this inside leasehold run, or give --token"
        ))),
    }
}

fn shared(mode: Mode) -> String {
    format!(
        "a token of a lock in mode {} orders nothing: others hold that lock at the same time, and the newest of them would shut the others out; take the lock exclusively",
        mode.word()
    )
}

fn bare(text: &str, source: &str) -> Result<Seen, Outcome> {
    let token: Token = text
        .parse()
        .map_err(|error| Outcome::Usage(format!("{error} ({source})")))?;
    Ok(Seen {
        cluster: None,
        token,
    })
}

/// What the enclosing `leasehold run` says. Two variables that contradict one another come from two runs, or
/// from somebody's hand: then neither is believed.
fn of_environment(inherited: &Inherited) -> Result<Option<Sequencer>, Outcome> {
    let Some(text) = inherited.variable(SEQUENCER) else {
        return Ok(None);
    };
    let sequencer = parsed(text, &format!("${SEQUENCER}"))?;
    if let Some(token) = inherited.variable(TOKEN)
        && token != sequencer.token.to_string()
    {
        return Err(Outcome::Usage(format!(
            "${TOKEN} is {} but ${SEQUENCER} says {}: the environment is that of two runs; give the sequencer that is meant",
            harmless(token),
            sequencer.token
        )));
    }
    Ok(Some(sequencer))
}

fn parsed(text: &str, source: &str) -> Result<Sequencer, Outcome> {
    text.parse()
        .map_err(|error| Outcome::Usage(format!("{error} ({source})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::token::ClusterId;

    const GIVEN: &str = "1:cafe:exclusive:33:beef:a";

    fn inherited<const N: usize>(variables: [(&str, &str); N]) -> Inherited {
        Inherited {
            variables: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Inherited::default()
        }
    }

    fn why<T: std::fmt::Debug>(result: Result<T, Outcome>) -> String {
        match result {
            Err(Outcome::Usage(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_typed_goes_before_the_environment() {
        let inside = inherited([(SEQUENCER, GIVEN), (TOKEN, "33")]);
        let typed = "1:cafe:exclusive:34:f00d:b";
        let claim = sequencer(Some(typed), &inside).expect("one");
        assert_eq!(claim.to_string(), typed);
        let claim = sequencer(None, &inside).expect("one");
        assert_eq!(claim.to_string(), GIVEN);
    }

    #[test]
    fn only_a_sequencer_says_of_which_cluster_a_token_is() {
        let inside = inherited([(SEQUENCER, GIVEN), (TOKEN, "33")]);
        let (seen, _) = ratchet(None, &inside).expect("one");
        assert_eq!(seen.cluster, Some(ClusterId(0xcafe)));
        let (seen, _) = ratchet(Some(GIVEN), &inherited([])).expect("one");
        assert_eq!(seen.cluster, Some(ClusterId(0xcafe)));
        let (seen, whole) = ratchet(Some("33"), &inside).expect("one");
        assert_eq!((seen.cluster, whole), (None, None), "as over ssh");
        let (seen, _) = ratchet(None, &inherited([(TOKEN, "7")])).expect("one");
        assert_eq!((seen.cluster, seen.token.get()), (None, 7));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_where_it_came_from() {
        let outside = inherited([]);
        assert!(why(sequencer(None, &outside)).contains("$LEASEHOLD_SEQUENCER is not set"));
        assert!(why(ratchet(None, &outside)).contains("--token"));
        assert!(why(ratchet(Some("0"), &outside)).ends_with("(--token)"));
        let broken = inherited([(TOKEN, "x")]);
        assert!(why(ratchet(None, &broken)).ends_with("($LEASEHOLD_TOKEN)"));
        let cut = inherited([(SEQUENCER, "1:cafe")]);
        assert!(why(sequencer(None, &cut)).contains("cut short"));
        let two = inherited([(SEQUENCER, GIVEN), (TOKEN, "34")]);
        assert!(why(sequencer(None, &two)).contains("two runs"));
        for mode in ["shared", "slots"] {
            let text = format!("1:cafe:{mode}:33:beef:a");
            assert!(why(ratchet(Some(&text), &outside)).contains(mode));
            assert!(sequencer(Some(&text), &outside).is_ok(), "etcd can tell");
        }
    }
}
