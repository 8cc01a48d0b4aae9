//! The only two ways to wait in a service; both end at an instant on CLOCK_BOOTTIME, also when the machine
//! was suspended meanwhile. etcd-client's own `with_timeout` bounds neither connecting nor streams.

use crate::clock::{self, Instant, Timer};

/// What `work` comes to, or nothing when it has not by `give_up_at`: then it is dropped.
pub async fn within<T>(give_up_at: Instant, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        result = work => Some(result),
        () = reached(give_up_at) => None,
    }
}

/// Waits until `instant`.
pub async fn reached(instant: Instant) {
    #[cfg(test)]
    if let Some(reached) = crate::simulation::kernel::reached(instant) {
        return reached.await;
    }
    match Timer::new() {
        Ok(mut timer) => timer.reached(Some(instant)).await,
        // No descriptor left: a wait that forgets the time of a suspend is better than none that ends.
        Err(_) => pause_without_timer(instant).await,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the fallback for a process without a free descriptor"
)]
async fn pause_without_timer(instant: Instant) {
    tokio::time::sleep(instant.since(clock::now())).await;
}
