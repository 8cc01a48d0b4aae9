//! The settings of a run that files may have, also per lock. Pure.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::cli;
use crate::config::layers::{Layers, Resolved, Source};
use crate::config::setting::{
    CONFLICT_EXIT_CODE, KILL_AFTER, KILL_SIGNAL, LOCK_DELAY, MAX_RUNTIME, ON_LEFTOVER, ON_LOSS,
    REASON, SLOTS, TTL, WAIT,
};
use crate::config::{duration, kind, signal};
use crate::lock::entry::LOCK_DELAY_MAX;
use crate::lock::lease;
use crate::outcome::Outcome;
use crate::supervisor::{OnLeftover, OnLoss};

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
    /// `--reason`.
    pub reason: String,
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
            reason: layers
                .get(&REASON, text)?
                .map(|resolved| resolved.value)
                .unwrap_or_default(),
        })
    }
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
