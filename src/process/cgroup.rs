//! A cgroup of the command's own, where the current one is ours to divide: one write kills everybody in it,
//! faster than anybody can fork, and also processes of other users (cgroups(7), cgroup.kill, Linux 5.14).
//!
//! It only ever helps: where it cannot be had, or somebody moved out of it, the rounds of kill.rs do the work.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How often those who are to live elsewhere are looked for.
const RELEASES_MAX: u32 = 100;

/// A child of the current cgroup.
#[derive(Debug)]
pub struct Leaf {
    path: PathBuf,
    kill: File,
    procs: File,
}

impl Leaf {
    /// Makes one, where that is allowed and polite.
    pub fn make() -> Option<Self> {
        let parent = delegated()?;
        let path = parent.join(format!("leasehold-{}", std::process::id()));
        create_anew(&path).ok()?;
        let open = |name: &str| File::options().write(true).open(path.join(name)).ok();
        match (open("cgroup.kill"), open("cgroup.procs")) {
            (Some(kill), Some(procs)) => Some(Self { path, kill, procs }),
            _ => {
                let _ = fs::remove_dir(&path);
                None
            }
        }
    }

    /// Moves a process, and what it will fork, into it.
    pub fn adopt(&self, pid: i32) -> bool {
        (&self.procs).write_all(pid.to_string().as_bytes()).is_ok()
    }

    /// Kills everybody in it.
    pub fn kill(&self) {
        let _ = (&self.kill).write_all(b"1");
    }

    /// Lets those who are in it go where they would be without us.
    pub fn release(&self) {
        let Some(parent) = self.path.parent() else {
            return;
        };
        // Who is forked while we read stays here; those who fork faster than we write have to.
        for _ in 0..RELEASES_MAX {
            let pids = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
            if pids.is_empty() {
                return;
            }
            for pid in pids.split_ascii_whitespace() {
                let _ = fs::write(parent.join("cgroup.procs"), pid);
            }
        }
    }

    /// Removes it; fails, harmlessly, while somebody is in it.
    pub fn remove(&self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// A run whose processes were all killed at once leaves its folder, and its pid comes back one day. Somebody in it
/// keeps it.
fn create_anew(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_dir(path)?;
            fs::create_dir(path)
        }
        made => made,
    }
}

/// The folder of the current cgroup, if it is ours to divide. Only one manager may: systemd where it runs,
/// unless it delegated the cgroup, which it marks with an attribute (systemd.resource-control(5), Delegate=).
pub fn delegated() -> Option<PathBuf> {
    let current = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = current.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let folder = mounts.lines().find_map(|line| folder_under(line, path))?;
    let owner = fs::metadata(&folder).ok()?.uid();
    let own = nix::unistd::geteuid();
    let polite = if own.is_root() {
        is_marked(&folder) || !Path::new("/run/systemd/system").exists()
    } else {
        owner == own.as_raw()
    };
    polite.then_some(folder)
}

/// Where a cgroup is to be found, if this line of mountinfo(5) is a mount of the cgroup v2 tree that shows it.
fn folder_under(line: &str, cgroup: &str) -> Option<PathBuf> {
    let (mount, kind) = line.split_once(" - ")?;
    if !kind.starts_with("cgroup2 ") {
        return None;
    }
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let below = Path::new(cgroup).strip_prefix(root).ok()?;
    Some(Path::new(point).join(below))
}

fn is_marked(folder: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(folder) = std::ffi::CString::new(folder.as_os_str().as_bytes()) else {
        return false;
    };
    [c"trusted.delegate", c"user.delegate"].iter().any(|name| {
        let mut value = [0_u8; 4];
        // SAFETY: two strings that end with NUL, and a buffer with its own length.
        let length = unsafe {
            libc::getxattr(
                folder.as_ptr(),
                name.as_ptr(),
                value.as_mut_ptr().cast(),
                value.len(),
            )
        };
        length == 1 && value[0] == b'1'
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_where_the_tree_is_mounted() {
        let line = "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw";
        assert_eq!(
            folder_under(line, "/user.slice/x.scope"),
            Some(PathBuf::from("/sys/fs/cgroup/user.slice/x.scope"))
        );
        assert_eq!(
            folder_under(line, "/"),
            Some(PathBuf::from("/sys/fs/cgroup/"))
        );
    }

    #[test]
    fn a_mount_of_another_part_of_the_tree_or_of_version_1_is_passed_over() {
        let bound = "35 24 0:30 /a /mnt rw - cgroup2 cgroup2 rw";
        assert_eq!(folder_under(bound, "/b"), None);
        assert_eq!(folder_under(bound, "/a/b"), Some(PathBuf::from("/mnt/b")));
        let old = "36 24 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
        assert_eq!(folder_under(old, "/"), None);
    }
}
