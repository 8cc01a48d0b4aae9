//! Cgroups that a test makes, and that are gone with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::{Uid, chown};

use super::anatomy::is_root;
use super::eventually::{SOON, eventually};
use super::leasehold::Run;

/// One of version 2.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// Nothing where the tests may not make one.
    pub(crate) fn make() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !is_root() {
            return None;
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mount = mounts
            .lines()
            .find(|line| line.contains(" - cgroup2 "))?
            .split(' ')
            .nth(4)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("leasehold-test-{}-{number}", std::process::id());
        let folder = Path::new(mount).join(name);
        fs::create_dir(&folder).ok()?;
        Some(Self(folder))
    }

    /// Gives it to a user, as systemd does with Delegate=yes.
    pub(crate) fn delegate(&self, uid: u32) {
        for file in [
            "",
            "cgroup.procs",
            "cgroup.subtree_control",
            "cgroup.threads",
        ] {
            let path = self.0.join(file);
            chown(&path, Some(Uid::from_raw(uid)), None).expect("root may give it away");
        }
    }

    /// Puts a run into it.
    pub(crate) fn holding(&self, run: Run) -> Run {
        let script = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", self.0.display());
        run.wrapped(["sh", "-c", &script, "sh"])
    }

    pub(crate) fn path(&self) -> std::path::Display<'_> {
        self.0.display()
    }

    pub(crate) fn freeze(&self) {
        self.write("cgroup.freeze", "1");
        eventually("everybody in the cgroup is frozen", SOON, || {
            let events = self.read("cgroup.events");
            if events.contains("frozen 1") {
                Ok(())
            } else {
                Err(events)
            }
        });
    }

    pub(crate) fn thaw(&self) {
        self.write("cgroup.freeze", "0");
    }

    /// The cgroups in it.
    pub(crate) fn children(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).expect("it is there").flatten();
        let folders = entries.filter(|entry| entry.path().is_dir());
        folders.map(|entry| entry.path()).collect()
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).expect("root may");
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).expect("it is there")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.freeze"), "0");
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let deadline = super::processes::Moment::now() + SOON;
        // Fails until the last of them is gone.
        while super::processes::Moment::now() < deadline {
            for child in fs::read_dir(&self.0).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(child.path());
            }
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
    }
}
