//! A task of the manager's event loop that ends with its owner. Aborted, it takes nothing back: what was sent is done all
//! the same.

use tokio::task::JoinHandle;

/// Such a task.
pub struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Task {
    /// Begins it. Inside a tokio runtime.
    pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}
