//! Where the locks of one machine are: `--local`. Pure.
//!
//! Never chosen by itself: a lock tool that fell back to one machine would run jobs twice.

use std::path::{Path, PathBuf};

use crate::config::inherited::Inherited;
use crate::config::layers::{Found, Layers, folder_of, home};
use crate::config::setting::{ENDPOINTS, LOCAL};
use crate::outcome::Outcome;

/// Where root's locks are: it survives a reboot.
const SYSTEM_FOLDER: &str = "/var/lib/leasehold";

/// The folder that is meant, if one is: whoever is believed most of those who say where the locks are.
///
/// # Errors
/// One place says both, or there is no usual folder.
pub fn folder(layers: &Layers<'_>) -> Result<Option<PathBuf>, Outcome> {
    for layer in layers.in_order() {
        let local = layers.in_layer(layer, &LOCAL);
        let endpoints = layers.in_layer(layer, &ENDPOINTS);
        match (local, endpoints) {
            (Some(local), endpoints) if local.text == "false" => {
                if endpoints.is_some() {
                    return Ok(None);
                }
            }
            (Some(local), Some(_)) => {
                let why = "local and endpoints: the lock is either in a folder of this machine or in etcd; give one of them";
                return Err(local.source.refusal(why));
            }
            (Some(local), None) => return path(&local, layers.inherited()).map(Some),
            (None, Some(_)) => return Ok(None),
            (None, None) => {}
        }
    }
    Ok(None)
}

fn path(found: &Found<'_>, inherited: &Inherited) -> Result<PathBuf, Outcome> {
    match found.text {
        "true" => usual(inherited).ok_or_else(|| {
            found.source.refusal(
                "there is no folder for local locks: HOME is not set; give one with --local=DIR",
            )
        }),
        _ => Ok(found.path(inherited)),
    }
}

/// The one that survives a reboot and needs no permission.
fn usual(inherited: &Inherited) -> Option<PathBuf> {
    if inherited.uid == 0 {
        return Some(Path::new(SYSTEM_FOLDER).to_owned());
    }
    let state = folder_of(inherited, "XDG_STATE_HOME")
        .or_else(|| Some(home(inherited)?.join(".local/state")))?;
    Some(state.join("leasehold"))
}

/// The value for people.
///
/// # Errors
/// Why there is none.
pub fn shown(found: &Found<'_>, inherited: &Inherited) -> Result<String, String> {
    match found.text {
        "false" => Ok("in etcd".to_owned()),
        "true" => Ok(usual(inherited)
            .map_or_else(|| "no HOME".to_owned(), |path| path.display().to_string())),
        _ => Ok(found.path(inherited).display().to_string()),
    }
}
