//! The settings of a run that files may have, also per lock. Pure.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli;
use crate::config::layers::{Layers, Resolved, Source};
use crate::config::setting::{
    CONFLICT_EXIT_CODE, HOLD_MIN, KILL_AFTER, KILL_SIGNAL, LOCK_DELAY, MAX_RUNTIME, METRICS_FILE,
    ON_LEFTOVER, ON_LOSS, ONCE_KEEP, QUEUE, REASON, RECORD, SLOTS, TTL, WAIT,
};
use crate::config::{duration, kind, signal};
use crate::lock::entry::{LOCK_DELAY_MAX, QueuePolicy};
use crate::lock::lease;
use crate::outcome::Outcome;
use crate::supervisor::{OnLeftover, OnLoss};

/// The longest time for which etcd is asked to keep something: it counts leases in seconds up to 285 years.
const KEEP_MAX: Duration = Duration::from_secs(3650 * 24 * 3600);

/// How a command is run, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSettings {
    /// `--slots`.
    pub slots: Option<NonZeroU32>,
    /// `--wait`, also 0.
    pub wait: Option<Duration>,
    /// `--conflict-exit-code`.
    pub conflict_status: u8,
    /// `--ttl`, in whole seconds.
    pub ttl: Duration,
    /// `--kill-after`, which fits the TTL.
    pub kill_after: Duration,
    /// `--kill-signal`.
    pub kill_signal: i32,
    /// `--max-runtime`.
    pub max_runtime: Option<Duration>,
    /// `--lock-delay`.
    pub lock_delay: Duration,
    /// `--on-leftover`.
    pub on_leftover: OnLeftover,
    /// `--on-loss`.
    pub on_loss: OnLoss,
    /// `--queue`.
    pub queue: QueuePolicy,
    /// `--hold-min`, and who said it.
    pub hold_min: Resolved<Duration>,
    /// `--once-keep`.
    pub once_keep: Duration,
    /// `--record`.
    pub record: bool,
    /// `--reason`.
    pub reason: String,
    /// `--metrics-file`, and who said it.
    pub metrics_file: Option<Resolved<PathBuf>>,
}

impl RunSettings {
    /// Resolves them for the lock of these layers.
    ///
    /// # Errors
    /// What is wrong with one, or that two do not fit together.
    pub fn resolve(layers: &Layers<'_>) -> Result<Self, Outcome> {
        let (ttl, kill_after) = timing(layers)?;
        let value = |resolved: Resolved<Duration>| resolved.value;
        let text = |text: &str| Ok(text.to_owned());
        let on_leftover = layers.value(&ON_LEFTOVER, kind::on_leftover)?.value;
        Ok(Self {
            slots: layers.get(&SLOTS, kind::slots)?.map(|slots| slots.value),
            wait: layers.get(&WAIT, duration::parse)?.map(value),
            conflict_status: layers.value(&CONFLICT_EXIT_CODE, kind::status)?.value,
            ttl,
            kill_after,
            kill_signal: layers.value(&KILL_SIGNAL, signal::parse)?.value,
            max_runtime: layers.get(&MAX_RUNTIME, duration::parse)?.map(value),
            lock_delay: lock_delay(layers)?,
            on_leftover: match on_leftover {
                cli::OnLeftover::Wait => OnLeftover::Wait,
                cli::OnLeftover::Kill => OnLeftover::Kill,
                cli::OnLeftover::Leave => OnLeftover::Leave,
            },
            on_loss: match layers.value(&ON_LOSS, kind::on_loss)?.value {
                cli::OnLoss::Kill => OnLoss::Kill,
                cli::OnLoss::Warn => OnLoss::Warn,
            },
            queue: match layers.value(&QUEUE, kind::queue)?.value {
                cli::Queue::Fifo => QueuePolicy::Fifo,
                cli::Queue::Latest => QueuePolicy::Latest,
            },
            hold_min: layers.value(&HOLD_MIN, duration::parse)?,
            once_keep: once_keep(layers)?,
            record: layers.value(&RECORD, kind::flag)?.value,
            reason: layers
                .get(&REASON, text)?
                .map(|resolved| resolved.value)
                .unwrap_or_default(),
            metrics_file: metrics_file(layers),
        })
    }
}

/// Where the metrics are written.
pub fn metrics_file(layers: &Layers<'_>) -> Option<Resolved<PathBuf>> {
    let found = layers.find(&METRICS_FILE)?;
    Some(Resolved {
        value: found.path(layers.inherited()),
        source: found.source,
    })
}

/// TTL and grace, if they fit together.
fn timing(layers: &Layers<'_>) -> Result<(Duration, Duration), Outcome> {
    let Resolved { value, source } = layers.value(&TTL, duration::parse)?;
    // etcd counts TTLs in whole seconds; a fraction more is the safe side.
    let ttl = Duration::from_secs(value.as_secs() + u64::from(value.subsec_nanos() > 0));
    let (kill_after, blamed) = match layers.get(&KILL_AFTER, duration::parse)? {
        None => (lease::default_kill_after(ttl), source),
        // Whoever typed one of the two can type another number.
        Some(typed) if source != Source::CommandLine => (typed.value, typed.source),
        Some(other) => (other.value, source),
    };
    lease::check(ttl, kill_after).map_err(|why| blamed.refusal(why))?;
    Ok((ttl, kill_after))
}

fn lock_delay(layers: &Layers<'_>) -> Result<Duration, Outcome> {
    let Resolved { value, source } = layers.value(&LOCK_DELAY, duration::parse)?;
    if value > LOCK_DELAY_MAX {
        return Err(source.refusal(format!("--lock-delay can be at most {LOCK_DELAY_MAX:?}")));
    }
    Ok(value)
}

fn once_keep(layers: &Layers<'_>) -> Result<Duration, Outcome> {
    let Resolved { value, source } = layers.value(&ONCE_KEEP, duration::parse)?;
    if value < Duration::from_secs(1) || value > KEEP_MAX {
        return Err(source.refusal("--once-keep is from a second to ten years"));
    }
    Ok(value)
}

/// Whether `--hold-min` can do what it is for: whoever waits for longer than that runs the job again.
///
/// # Errors
/// The sentence for the user.
pub fn check_hold_min(
    hold_min: &Resolved<Duration>,
    nonblock: bool,
    wait: Option<Duration>,
) -> Result<(), Outcome> {
    let Resolved { value, source } = hold_min;
    let waits_shorter = wait.is_some_and(|wait| wait < *value);
    if !value.is_zero() && !nonblock && !waits_shorter {
        return Err(source.refusal(format!(
            "--hold-min {value:?} needs -n, or a --wait that is shorter: whoever waits for longer runs the job again"
        )));
    }
    if *value > KEEP_MAX {
        return Err(source.refusal("--hold-min can be at most ten years"));
    }
    Ok(())
}
