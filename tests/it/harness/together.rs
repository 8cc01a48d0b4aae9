//! Many runs at a time, bounded.

use std::sync::Mutex;
use std::thread;

/// Does `work` for every item, in so many threads; a panic in one of them fails the test.
pub(crate) fn in_threads<T: Send>(
    threads: usize,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) + Sync,
) {
    let items: Vec<T> = items.into_iter().collect();
    let items = Mutex::new(items.into_iter());
    let next = || items.lock().expect("nobody panics with it").next();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = next() {
                    work(item);
                }
            });
        }
    });
}
