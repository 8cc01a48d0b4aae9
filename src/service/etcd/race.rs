//! Several things under way at the same time, of which the first to end counts. Whatever is left is dropped
//! with the race.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// What is under way.
pub struct Race<'run, T> {
    runners: Vec<Pin<Box<dyn Future<Output = T> + Send + 'run>>>,
}

impl<'run, T> Race<'run, T> {
    /// Nobody runs yet.
    pub const fn new() -> Self {
        Self {
            runners: Vec::new(),
        }
    }

    /// One more.
    pub fn enter(&mut self, runner: impl Future<Output = T> + Send + 'run) {
        self.runners.push(Box::pin(runner));
    }

    /// How many run.
    pub fn len(&self) -> usize {
        self.runners.len()
    }

    /// Whether nobody runs.
    pub fn is_empty(&self) -> bool {
        self.runners.is_empty()
    }

    /// What the next one comes to; never where nobody runs.
    pub async fn next(&mut self) -> T {
        poll_fn(|context| {
            for index in 0..self.runners.len() {
                if let Poll::Ready(result) = self.runners[index].as_mut().poll(context) {
                    drop(self.runners.swap_remove(index));
                    return Poll::Ready(result);
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_to_end_comes_first_and_the_others_go_on() {
        let (slow, slow_end) = tokio::sync::oneshot::channel::<u8>();
        let (fast, fast_end) = tokio::sync::oneshot::channel::<u8>();
        let mut race = Race::new();
        race.enter(slow_end);
        race.enter(fast_end);
        fast.send(1).expect("it runs");
        assert_eq!(race.next().await, Ok(1));
        assert_eq!(race.len(), 1);
        slow.send(2).expect("it runs");
        assert_eq!(race.next().await, Ok(2));
        assert!(race.is_empty());
    }
}
