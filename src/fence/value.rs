//! What `fence put` writes: any bytes, from the argument, a file or stdin.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::cli::fence::PutArgs;
use crate::lock::entry::harmless;
use crate::outcome::Outcome;
use crate::service::etcd::fence::Claim;
use crate::ui::system_error;

/// The largest request that etcd takes unless told otherwise (`--max-request-bytes`).
const REQUEST_BYTES_MAX: usize = 3 << 19;

/// What a request has besides keys and value: tags, lengths, numbers, the mark's value.
const OVERHEAD_PER_KEY: usize = 64;

/// The value that was asked for, if etcd can take it together with all keys: those of the locks are compared twice, `key`
/// and the holder's mark are compared and written.
///
/// # Errors
/// [`Outcome::Usage`].
pub fn value(args: &PutArgs, key: &[u8], claim: &Claim) -> Result<Vec<u8>, Outcome> {
    let mark = claim.mark.as_bytes();
    let locks = claim.keys.iter().map(String::as_bytes);
    let keys = locks.clone().chain(locks).chain([key, key, mark, mark]);
    let rest: usize = keys.map(|key| key.len() + OVERHEAD_PER_KEY).sum();
    let most = REQUEST_BYTES_MAX.saturating_sub(rest);
    let (value, source) = match (&args.value, &args.file) {
        (None, Some(path)) => (file(path, most)?, path.display().to_string()),
        (Some(value), _) if value != OsStr::new("-") => {
            (value.as_bytes().to_vec(), "VALUE".to_owned())
        }
        _ => {
            let read = bounded(io::stdin().lock(), most);
            (
                read.map_err(|error| unreadable("stdin", &error))?,
                "stdin".to_owned(),
            )
        }
    };
    if value.len() > most {
        return Err(Outcome::Usage(format!(
            "{source} is too large: a request to etcd can have 1.5 MiB, which leaves {most} bytes for this value; nothing was written"
        )));
    }
    Ok(value)
}

fn file(path: &Path, most: usize) -> Result<Vec<u8>, Outcome> {
    File::open(path)
        .and_then(|file| bounded(file, most))
        .map_err(|error| unreadable(&path.display().to_string(), &error))
}

/// One byte more than can be taken shows that there is too much.
fn bounded(source: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(source: &str, error: &io::Error) -> Outcome {
    Outcome::Usage(format!(
        "{} cannot be read: {}; nothing was written",
        harmless(source),
        system_error(error)
    ))
}
