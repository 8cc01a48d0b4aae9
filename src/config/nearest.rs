//! "did you mean ttl?" Pure.

/// How much two words must have in common (Jaro-Winkler); below it they share little more than some letters.
const ALIKE_MIN: f64 = 0.75;

/// The candidate that was probably meant, if any was.
pub fn nearest<'words>(
    typed: &str,
    candidates: impl Iterator<Item = &'words str>,
) -> Option<&'words str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(typed, candidate), candidate))
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
