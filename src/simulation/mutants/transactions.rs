//! Transactions that are sent in the place of those that are shipped.

use crate::simulation::host::Host;
use crate::simulation::mutants::Mutant;
use crate::simulation::mutants::seams::{entries, markers, own_entry};
use crate::simulation::protocol::{Keys, Op, Transaction};

/// Those that take a place, or give it back.
pub fn place(mutant: Mutant, transaction: &mut Transaction) {
    let is_marker = |keys: &Keys| keys.key.starts_with(markers().as_bytes());
    match mutant {
        Mutant::MarkerForgotten => {
            let puts = |op: &Op| matches!(op, Op::Put { key, .. } if key.starts_with(markers().as_bytes()));
            transaction.then.retain(|op| !puts(op));
        }
        Mutant::MarkerKept if is_release(transaction) => {
            let deletes = |op: &Op| matches!(op, Op::Delete { keys } if is_marker(keys));
            transaction.then.retain(|op| !deletes(op));
            transaction.otherwise.retain(|op| !deletes(op));
        }
        Mutant::SignForgotten => {
            let is_sign = |op: &Op| matches!(op, Op::Put { key, .. } if key.ends_with(b"~"));
            transaction.then.retain(|op| !is_sign(op));
            transaction.otherwise.retain(|op| !is_sign(op));
        }
        Mutant::UnsignedWithoutLease => {
            let is_elsewhere = |op: &Op| matches!(op, Op::Put { key, lease, .. } if lease_of_sign(key).is_some_and(|own| own != *lease));
            transaction.then.retain(|op| !is_elsewhere(op));
            transaction.otherwise.retain(|op| !is_elsewhere(op));
        }
        Mutant::FirstGivenBackOnly if is_release(transaction) => {
            let is_other = |op: &Op| matches!(op, Op::Delete { keys } if keys.key.windows(7).any(|part| part == b"/other/"));
            transaction.then.retain(|op| !is_other(op));
            transaction.otherwise.retain(|op| !is_other(op));
        }
        Mutant::ReleaseUnguarded if is_release(transaction) => {
            transaction.when.clear();
        }
        Mutant::NonblockUnguarded if transaction.put_below(entries().as_bytes()).is_some() => {
            // Of its comparisons, the guard against others goes; that it was not put before stays.
            transaction.when.truncate(2);
        }
        _ => {}
    }
}

/// Those of policies, and of who must not wait.
pub fn of_policies(mutant: Mutant, host: &Host, transaction: &mut Transaction) {
    match mutant {
        Mutant::NoteForgotten => {
            transaction.then.retain(|op| !is_note(op));
        }
        Mutant::NoteWithoutLease => {
            for op in transaction.then.iter_mut().filter(|op| is_note(op)) {
                if let Op::Put { lease, .. } = op {
                    *lease = 0;
                }
            }
        }
        Mutant::RecordUnguarded if transaction.put_below(b"/leasehold/~last/").is_some() => {
            transaction.when.clear();
        }
        Mutant::SupersedeUnguarded if transaction.then.iter().any(is_note) => {
            let kept = transaction.clone();
            let own = own_entry(host);
            let is_of_both = |key: &[u8]| Some(key) == own.as_deref() || kept.deletes(key);
            transaction.when.retain(|when| is_of_both(&when.keys.key));
        }
        Mutant::RetireForgotten
            if matches!(
                transaction.then[..],
                [Op::Put {
                    ignore_value: true,
                    ..
                }]
            ) =>
        {
            transaction.then.clear();
        }
        Mutant::KeptOnOldLease
            if transaction.then.iter().any(|op| {
                matches!(
                    op,
                    Op::Put {
                        ignore_value: true,
                        ..
                    }
                )
            }) =>
        {
            let own = host.place().map(|(_, lease)| lease.get());
            let is_own = |key: &[u8]| own_entry(host).is_some_and(|entry| entry == key);
            let keeps = |op: &Op| matches!(op, Op::Put { key, .. } if is_own(key));
            if let (Some(own), true) = (own, transaction.then.iter().any(keeps)) {
                for op in &mut transaction.then {
                    if let Op::Put { lease, .. } = op {
                        *lease = own;
                    }
                }
            }
        }
        _ => {}
    }
}

/// The note for one whose place was taken away.
fn is_note(op: &Op) -> bool {
    matches!(op, Op::Put { key, .. } if key.starts_with(b"/leasehold/~superseded/"))
}

/// Entry and marker deleted together.
fn is_release(transaction: &Transaction) -> bool {
    let deletes =
        |op: &Op| matches!(op, Op::Delete { keys } if keys.key.starts_with(entries().as_bytes()));
    transaction.then.iter().any(deletes)
}

/// The lease of the session whose sign this key is.
fn lease_of_sign(key: &[u8]) -> Option<i64> {
    let key = std::str::from_utf8(key).ok()?.strip_suffix('~')?;
    i64::from_str_radix(key.rsplit('/').next()?, 16).ok()
}
