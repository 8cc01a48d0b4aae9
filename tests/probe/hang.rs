//! A file system that does not answer, as a network file system whose server is gone: whoever waits for it is in
//! uninterruptible sleep.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use nix::unistd::{ForkResult, fork, pipe};

/// The number of the first request (linux/fuse.h, FUSE_INIT).
const INIT: u32 = 26;
/// The sizes of fuse_out_header and fuse_init_out.
const HEADER: usize = 16;
const INIT_OUT: usize = 64;

/// Returns when it is mounted; a process is left that holds it, and closes everything else.
pub(crate) fn mount(folder: &str) {
    let mut device = File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .expect("/dev/fuse");
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
        device.as_raw_fd()
    );
    let text = |text: &str| CString::new(text).expect("no NUL");
    let (source, target, kind, options) =
        (text("hang"), text(folder), text("fuse"), text(&options));
    // SAFETY: strings that end with NUL.
    let result = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            options.as_ptr().cast(),
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    let (read, write) = pipe().expect("a pipe");
    // SAFETY: this program has one thread.
    match unsafe { fork() }.expect("a process can be made") {
        ForkResult::Parent { .. } => {
            drop((write, device));
            let mut word = [0];
            File::from(read).read_exact(&mut word).expect("it mounts");
        }
        ForkResult::Child => {
            answer_the_first(&mut device);
            File::from(write).write_all(b".").expect("the parent reads");
            for descriptor in 0..3 {
                // SAFETY: nothing in this process uses them any more.
                unsafe { libc::close(descriptor) };
            }
            // What was read, the kernel waits for.
            let mut request = vec![0; 1 << 17];
            while device.read(&mut request).is_ok() {}
        }
    }
}

fn answer_the_first(device: &mut File) {
    let mut request = vec![0; 1 << 17];
    let length = device.read(&mut request).expect("a first request");
    assert!(length >= 16);
    assert_eq!(request[4..8], INIT.to_ne_bytes(), "FUSE_INIT");
    let unique = &request[8..16];
    let mut answer = vec![0; HEADER + INIT_OUT];
    answer[..4].copy_from_slice(&((HEADER + INIT_OUT) as u32).to_ne_bytes());
    answer[8..16].copy_from_slice(unique);
    // The version of the protocol: 7.31.
    answer[16..20].copy_from_slice(&7_u32.to_ne_bytes());
    answer[20..24].copy_from_slice(&31_u32.to_ne_bytes());
    device.write_all(&answer).expect("the kernel takes it");
}
