//! How long an answer usually takes: after how long one that is not there yet is overdue.

use std::time::Duration;

/// What is overdue while nothing is known: a start is delayed no longer by a member that is in trouble.
const UNKNOWN: Duration = Duration::from_millis(300);

/// A cluster that answers faster than this is not asked twice for every hiccup of its disk.
const MIN: Duration = Duration::from_millis(100);

/// A cluster that is slower than this is asked twice all the same.
const MAX: Duration = Duration::from_secs(1);

/// How long answers take: a smoothed mean and a smoothed deviation, as TCP measures its round trips (RFC 6298).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace(Option<(Duration, Duration)>);

impl Pace {
    /// Takes in how long an answer took.
    pub fn learn(&mut self, took: Duration) {
        self.0 = Some(match self.0 {
            None => (took, took / 2),
            Some((mean, deviation)) => {
                let off = mean.abs_diff(took);
                ((mean * 7 + took) / 8, (deviation * 3 + off) / 4)
            }
        });
    }

    /// After how long an answer is overdue, where `remaining` is left for it: there has to be time for two more.
    pub fn overdue_after(&self, remaining: Duration) -> Duration {
        let usual = self.0.map_or(UNKNOWN, |(mean, deviation)| {
            (mean + deviation * 4).clamp(MIN, MAX)
        });
        usual.min(remaining / 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn an_answer_is_overdue_after_a_few_times_the_usual() {
        let mut pace = Pace::default();
        assert_eq!(pace.overdue_after(ms(10_000)), UNKNOWN);
        for _ in 0..50 {
            pace.learn(ms(2));
        }
        assert_eq!(pace.overdue_after(ms(10_000)), MIN);
        for _ in 0..50 {
            pace.learn(ms(200));
        }
        let slow = pace.overdue_after(ms(10_000));
        assert!(slow > ms(200) && slow < ms(300), "{slow:?}");
        pace.learn(ms(60_000));
        assert_eq!(pace.overdue_after(ms(10_000)), MAX);
    }

    #[test]
    fn there_is_always_time_for_two_more() {
        assert_eq!(Pace::default().overdue_after(ms(250)), ms(250) / 3);
    }
}
