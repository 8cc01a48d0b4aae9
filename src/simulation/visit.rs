//! A guest in the simulated cluster: anybody who speaks to it and is no contender. What it is told has to be what a real
//! etcd says (service/etcd/simulated/conformance).

use tokio::runtime::Runtime;

use super::host::{run_until_idle, runtime};
use super::kernel::{self, Clock, Kernel};
use super::scenario::Scenario;
use super::store::Store;
use super::world::{Options, World};

/// A cluster of one member, in which nothing goes wrong, and nobody else.
pub struct Visit {
    world: World,
    runtime: Runtime,
}

impl Visit {
    /// Time begins.
    pub fn begin(seed: u64) -> Self {
        Kernel::install(seed, vec![Clock::default(); 2]);
        let mut scenario = Scenario::quiet(Vec::new());
        scenario.seed = seed;
        scenario.hosts.truncate(1);
        Self {
            world: World::new(scenario, Options::default()),
            runtime: runtime(),
        }
    }

    /// Lets this happen, and whatever it waits for.
    pub fn run<T: Send + 'static>(&mut self, work: impl Future<Output = T> + Send + 'static) -> T {
        let work = self.runtime.spawn(work);
        loop {
            kernel::enter(0);
            run_until_idle(&self.runtime);
            if work.is_finished() {
                let done = self.runtime.block_on(work);
                return done.expect("it says what went wrong");
            }
            let what = kernel::next().expect("it waits for something");
            self.world.happen(what);
            self.world.settle_effects();
        }
    }

    /// What the cluster keeps.
    pub const fn store(&self) -> &Store {
        &self.world.cluster.store
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // What is still under way looks at the kernel when it is dropped.
        Kernel::remove();
    }
}
