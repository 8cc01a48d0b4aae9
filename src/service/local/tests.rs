//! The service in a real folder, without processes around it: a life that is dropped stands for a run that died.

use std::os::fd::OwnedFd;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::bell::Bell;
use super::*;
use crate::lock::entry::Entry;
use crate::lock::key::Prefix;
use crate::lock::limit::Limit;
use crate::lock::name::LockName;
use crate::lock::token::Token;
use crate::service::deadline::{reached, within};
use crate::service::{Breaking, Broken, Done};
use crate::supervisor;

const SOON: Duration = Duration::from_secs(20);

fn soon() -> Instant {
    clock::now() + SOON
}

fn name(text: &str) -> LockName {
    text.parse().expect("a name")
}

fn folder() -> (TempDir, Folder) {
    let temporary = tempfile::tempdir().expect("a folder");
    let path = temporary.path().join("locks");
    (temporary, Folder { path })
}

fn wanted(lock: &str) -> Wanted {
    Wanted {
        name: name(lock),
        also: Vec::new(),
        prefix: Prefix::default(),
        ttl: Duration::from_secs(60),
        nonblock: false,
        entry: Entry {
            lock_delay_ms: 0,
            ..Entry::sample()
        },
        once: None,
    }
}

/// A run as far as the service knows it.
struct Run {
    service: Local,
    /// What the processes that watch the tree share.
    life: OwnedFd,
    lease: LeaseId,
    events: UnboundedReceiver<Event>,
}

impl Run {
    fn begin(folder: &Folder, wanted: Wanted) -> Self {
        let life = Life::begin(folder).expect("a life");
        let lease = life.lease();
        let (events_in, events) = unbounded_channel();
        let mut service = Local::new(folder, lease, wanted, events_in);
        service.enqueue(soon());
        Self {
            service,
            life: life.into_fd(),
            lease,
            events,
        }
    }

    async fn next(&mut self) -> Event {
        let event = within(soon(), self.events.recv()).await;
        event.expect("in time").expect("it lives")
    }

    async fn token(&mut self) -> Token {
        match self.next().await {
            Event::Enqueued { place, .. } => place.token,
            other => panic!("{other:?} in place of Enqueued"),
        }
    }

    async fn waiting(&mut self) -> supervisor::Queue {
        match self.next().await {
            Event::Waiting(queue) => queue,
            other => panic!("{other:?} in place of Waiting"),
        }
    }

    async fn admitted(&mut self) {
        loop {
            match self.next().await {
                Event::Admitted { .. } => return,
                Event::Waiting(_) => {}
                other => panic!("{other:?} in place of Admitted"),
            }
        }
    }

    async fn hold(folder: &Folder, wanted: Wanted) -> (Self, Token) {
        let mut run = Self::begin(folder, wanted);
        let token = run.token().await;
        run.admitted().await;
        (run, token)
    }

    /// As if all of its processes were killed at once. (Its service lives on here, but nothing of it is believed.)
    fn die(self) {
        drop(self.life);
        std::mem::forget(self.service);
    }

    async fn release(&mut self) {
        self.service.release(soon());
        assert_eq!(self.next().await, Event::Released);
    }
}

async fn inspected(folder: &Folder, lock: &str) -> crate::service::Inspection {
    let inspected = inspect(folder, &Prefix::default(), &name(lock), 100, soon()).await;
    inspected.expect("a look")
}

#[tokio::test]
async fn one_after_the_other_and_tokens_grow() {
    let (_temporary, folder) = folder();
    let (mut first, one) = Run::hold(&folder, wanted("job")).await;
    let mut second = Run::begin(&folder, wanted("job"));
    let two = second.token().await;
    assert!(one < two);
    let queue = second.waiting().await;
    assert_eq!((queue.place, queue.waiting), (1, 1));
    assert!(matches!(queue.holder, supervisor::Holder::Known(_)));
    first.release().await;
    second.admitted().await;
    second.release().await;
    let lock = inspected(&folder, "job").await;
    assert_eq!((lock.entries.len(), lock.vanished), (0, 0));
    first.service.farewell(soon()).await;
    second.service.farewell(soon()).await;
    for left in [folder.leases(), folder.bells()] {
        assert_eq!(std::fs::read_dir(left).expect("a folder").count(), 0);
    }
}

#[tokio::test]
async fn who_dies_is_gone_at_once_and_leaves_its_marker() {
    let (_temporary, folder) = folder();
    let (first, _) = Run::hold(&folder, wanted("job")).await;
    let mut second = Run::begin(&folder, wanted("job"));
    second.token().await;
    second.waiting().await;
    let mut third = Run::begin(&folder, wanted("job"));
    third.token().await;
    third.waiting().await;
    first.die();
    second.admitted().await;
    second.die();
    third.admitted().await;
}

#[tokio::test]
async fn a_vanished_holder_is_waited_for_as_long_as_it_wanted() {
    let (_temporary, folder) = folder();
    let mut careful = wanted("job");
    careful.entry.lock_delay_ms = 300;
    let (first, _) = Run::hold(&folder, careful).await;
    let mut second = Run::begin(&folder, wanted("job"));
    second.token().await;
    second.waiting().await;
    let died_at = clock::now();
    first.die();
    let queue = second.waiting().await;
    assert_eq!(queue.holder, supervisor::Holder::Vanished);
    second.admitted().await;
    assert!(clock::now().since(died_at) >= Duration::from_millis(300));
}

#[tokio::test]
async fn who_must_not_wait_is_told_who_has_it_and_leaves_nothing() {
    let (_temporary, folder) = folder();
    let (_first, _) = Run::hold(&folder, wanted("job")).await;
    let mut second = Run::begin(
        &folder,
        Wanted {
            nonblock: true,
            ..wanted("job")
        },
    );
    assert!(matches!(second.next().await, Event::Busy { .. }));
    assert_eq!(inspected(&folder, "job").await.entries.len(), 1);
}

#[tokio::test]
async fn slots_and_several_locks() {
    let (_temporary, folder) = folder();
    let two = |lock: &str| {
        let mut wanted = wanted(lock);
        wanted.entry.limit = Limit::Holders(2.try_into().expect("above zero"));
        wanted
    };
    let (mut first, _) = Run::hold(&folder, two("pool")).await;
    let (second, _) = Run::hold(&folder, two("pool")).await;
    let mut third = Run::begin(&folder, two("pool"));
    third.token().await;
    assert_eq!(third.waiting().await.others, 1);
    second.die();
    third.admitted().await;
    let mut both = Run::begin(
        &folder,
        Wanted {
            also: vec![name("other")],
            ..wanted("pool")
        },
    );
    both.token().await;
    both.waiting().await;
    first.release().await;
    third.release().await;
    both.admitted().await;
    let mut other = Run::begin(&folder, wanted("other"));
    other.token().await;
    other.waiting().await;
}

#[tokio::test]
async fn what_is_kept_lives_without_its_run_and_goes_in_time() {
    let (_temporary, folder) = folder();
    let (mut first, _) = Run::hold(&folder, wanted("job")).await;
    let until = clock::now() + Duration::from_millis(500);
    let entry = Entry {
        held_until: Some("later".to_owned()),
        ..Entry::sample()
    };
    first.service.keep(entry, until, soon());
    assert_eq!(first.next().await, Event::Released);
    first.service.farewell(soon()).await;
    drop(first.life);
    let mut second = Run::begin(&folder, wanted("job"));
    second.token().await;
    second.waiting().await;
    second.admitted().await;
    assert!(until <= clock::now());
    assert_eq!(inspected(&folder, "job").await.vanished, 0);
}

#[tokio::test]
async fn a_key_that_goes_is_noticed_by_the_bell_and_by_a_renewal() {
    let (_temporary, folder) = folder();
    let (mut first, _) = Run::hold(&folder, wanted("job")).await;
    first.service.renew(soon());
    assert!(matches!(first.next().await, Event::Renewed { .. }));
    let key = Prefix::default().entry(&name("job"), first.lease);
    let desk = Desk::open(&folder);
    let deleted = desk.ask(soon(), move |txn| txn.delete(&key)).await;
    deleted.expect("deleted");
    assert_eq!(first.next().await, Event::Gone(Loss::KeyDeleted));
}

#[tokio::test]
async fn break_asks_and_is_answered() {
    let (_temporary, folder) = folder();
    let (mut first, token) = Run::hold(&folder, wanted("job")).await;
    let breaking = Breaking {
        name: name("job"),
        token: token.get(),
        by: "ops@here".to_owned(),
        reason: String::new(),
        force: false,
    };
    let prefix = Prefix::default();
    let broken = take(&folder, &prefix, &breaking, soon(), |_| {});
    let answer = async {
        assert_eq!(first.next().await, Event::BreakAsked("ops@here".to_owned()));
        first.service.answer_break(Duration::from_secs(1));
        first.release().await;
    };
    let (broken, ()) = tokio::join!(broken, answer);
    let (_, broken) = broken.expect("a folder").expect("somebody");
    assert_eq!(broken, Broken::GaveBack);
}

#[tokio::test]
async fn what_is_done_once_is_done_by_nobody_else() {
    let (_temporary, folder) = folder();
    let once = || Wanted {
        once: Some("today".parse().expect("an id")),
        ..wanted("job")
    };
    let (mut first, _) = Run::hold(&folder, once()).await;
    let key = Prefix::default().once_record(&name("job"), &"today".parse().expect("an id"));
    let done = Done {
        key,
        value: b"{}".to_vec(),
        keep: Duration::from_secs(3600),
    };
    let memory = Memory {
        done: Some(done),
        ..Memory::default()
    };
    first.service.record(memory, soon());
    assert_eq!(first.next().await, Event::Recorded);
    first.release().await;
    let mut second = Run::begin(&folder, once());
    second.token().await;
    assert!(matches!(second.next().await, Event::AlreadyDone(_)));
    let (prefix, lock) = (Prefix::default(), name("job"));
    let id = "today".parse().expect("an id");
    let forgotten = forget(&folder, &prefix, &lock, &id, soon()).await;
    assert_eq!(forgotten, Ok(true));
}

#[tokio::test]
async fn history_tells_who_released_and_who_vanished() {
    use crate::lock::chronicle::Way;
    let (_temporary, folder) = folder();
    let (mut first, one) = Run::hold(&folder, wanted("job")).await;
    first.release().await;
    let (second, two) = Run::hold(&folder, wanted("job")).await;
    second.die();
    let past = history(&folder, &Prefix::default(), &name("job"), soon()).await;
    let past = past.expect("an account");
    let told: Vec<_> = past
        .chronicle
        .runs()
        .iter()
        .map(|run| (run.token, run.way.clone()))
        .collect();
    assert_eq!(
        told,
        [
            (one.get(), Some(Way::Released)),
            (two.get(), Some(Way::Vanished))
        ]
    );
}

/// Nobody can ring it any more: as if whoever changes something were killed before it does.
fn take_down_the_bell(folder: &Folder, run: &Run) {
    std::fs::remove_file(folder.bell(run.lease)).expect("a bell");
}

#[tokio::test]
async fn a_waiter_who_is_not_rung_looks_all_the_same() {
    let (_temporary, folder) = folder();
    let (mut first, _) = Run::hold(&folder, wanted("job")).await;
    let mut second = Run::begin(&folder, wanted("job"));
    second.token().await;
    second.waiting().await;
    take_down_the_bell(&folder, &second);
    first.release().await;
    second.admitted().await;
}

#[tokio::test]
async fn a_holder_who_is_not_rung_looks_all_the_same() {
    let (_temporary, folder) = folder();
    let (mut first, token) = Run::hold(&folder, wanted("job")).await;
    take_down_the_bell(&folder, &first);
    let request = Prefix::default().break_request(&name("job"), token.get());
    let key = Prefix::default().entry(&name("job"), first.lease);
    let desk = Desk::open(&folder);
    let asked = desk.ask(soon(), move |txn| txn.put(&request, b"{}", None));
    asked.await.expect("asked");
    assert!(matches!(first.next().await, Event::BreakAsked(_)));
    let deleted = desk.ask(soon(), move |txn| txn.delete(&key)).await;
    deleted.expect("deleted");
    assert_eq!(first.next().await, Event::Gone(Loss::KeyDeleted));
}

fn remove(folder: &Folder) {
    // SQLite may be making a file in it.
    while let Err(error) = std::fs::remove_dir_all(&folder.path) {
        assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty);
    }
}

#[tokio::test]
async fn a_holder_notices_at_once_that_its_folder_is_taken_away() {
    type TakeAway = fn(&Folder);
    let ways: [(&str, TakeAway); 4] = [
        ("removed", remove),
        ("renamed", |folder| {
            std::fs::rename(&folder.path, folder.path.with_extension("old")).expect("renamed");
        }),
        ("without its store", |folder| {
            std::fs::remove_file(folder.store()).expect("removed");
        }),
        ("replaced", |folder| {
            let path = folder.path.with_extension("new");
            let other = Folder { path };
            other.enter().expect("another folder");
            store::Store::open(&other).expect("another store");
            // Both at once, so there is a store in it all the time.
            let (from, to, swap) = (&other.path, &folder.path, RenameFlags::RENAME_EXCHANGE);
            renameat2(AT_FDCWD, from, AT_FDCWD, to, swap).expect("renamed");
        }),
    ];
    for (way, take_away) in ways {
        let (_temporary, folder) = folder();
        let (mut first, _) = Run::hold(&folder, wanted("job")).await;
        let removal = removal::Removal::of(&folder);
        take_away(&folder);
        let noticed = within(soon(), removal.noticed()).await;
        assert_eq!(noticed, Some(()), "{way}");
        assert_eq!(first.next().await, Event::Gone(Loss::StoreGone), "{way}");
    }
}

#[tokio::test]
async fn what_is_above_the_folder_is_looked_at_too() {
    let (temporary, _) = folder();
    let path = temporary.path().join("above/locks");
    let folder = Folder { path };
    let (mut first, _) = Run::hold(&folder, wanted("job")).await;
    // Its first look is over: whatever is asked for later is read later.
    first.service.renew(soon());
    assert!(matches!(first.next().await, Event::Renewed { .. }));
    let above = temporary.path().join("above");
    std::fs::rename(&above, temporary.path().join("elsewhere")).expect("renamed");
    assert_eq!(first.next().await, Event::Gone(Loss::StoreGone));
}

#[tokio::test]
async fn a_renewal_finds_that_the_folder_is_gone() {
    let (_temporary, folder) = folder();
    let mut first = Run::begin(&folder, wanted("job"));
    first.token().await;
    first.admitted().await;
    first.service.stop_tasks();
    remove(&folder);
    first.service.renew(soon());
    assert_eq!(first.next().await, Event::Gone(Loss::StoreGone));
}

#[tokio::test]
async fn a_waiter_whose_folder_or_store_is_replaced_is_told_to_start_again() {
    let ways: [fn(&Folder); 2] = [
        |folder| {
            std::fs::rename(&folder.path, folder.path.with_extension("old")).expect("renamed");
            Life::begin(folder).expect("another folder");
        },
        // Its life remains.
        |folder| std::fs::remove_file(folder.store()).expect("removed"),
    ];
    for replace in ways {
        let (_temporary, folder) = folder();
        let (_first, _) = Run::hold(&folder, wanted("job")).await;
        let mut second = Run::begin(&folder, wanted("job"));
        second.token().await;
        second.waiting().await;
        replace(&folder);
        assert_eq!(second.next().await, Event::Gone(Loss::StoreGone));
        second.service.enqueue(soon());
        match second.next().await {
            Event::NotEnqueued(trouble) => {
                assert!(trouble.detail.contains("start it again"), "{trouble:?}");
            }
            other => panic!("{other:?} in place of NotEnqueued"),
        }
    }
}

#[tokio::test]
async fn whoever_takes_the_place_of_a_run_whose_life_was_removed_rings_for_it() {
    let (_temporary, folder) = folder();
    let (mut first, _) = Run::hold(&folder, wanted("job")).await;
    first.service.stop_tasks();
    let bell = Bell::hang(&folder, first.lease).expect("a bell");
    std::fs::remove_file(folder.lease(first.lease)).expect("removed");
    let mut second = Run::begin(&folder, wanted("job"));
    second.token().await;
    assert_eq!(within(soon(), bell.rung()).await, Some(()));
}

#[tokio::test]
async fn of_those_who_wait_for_a_slot_only_the_first_waits_for_every_end() {
    let (_temporary, folder) = folder();
    let pool = || {
        let mut wanted = wanted("pool");
        wanted.entry.limit = Limit::Holders(3.try_into().expect("above zero"));
        wanted
    };
    let (one, _) = Run::hold(&folder, pool()).await;
    let (two, _) = Run::hold(&folder, pool()).await;
    let (_three, _) = Run::hold(&folder, pool()).await;
    let mut fourth = Run::begin(&folder, pool());
    fourth.token().await;
    fourth.waiting().await;
    let mut fifth = Run::begin(&folder, pool());
    fifth.token().await;
    fifth.waiting().await;
    for (waiter, waits_for) in [(&fourth, 3), (&fifth, 1)] {
        let mut place = unpoisoned(&waiter.service.place).clone();
        let looked = Desk::open(&folder)
            .ask(soon(), move |txn| place.look(txn))
            .await;
        match looked.expect("a look").state {
            place::State::Waiting(_, waits) => assert_eq!(waits.leases.len(), waits_for),
            other => panic!("{other:?} in place of Waiting"),
        }
    }
    // Well before anybody looks without being woken.
    let by = clock::now() + Duration::from_secs(4);
    one.die();
    fourth.admitted().await;
    two.die();
    fourth.service.announce();
    within(by, fifth.admitted()).await.expect("at once");
}

#[tokio::test]
async fn an_end_that_nobody_can_tell_is_no_end() {
    let (_temporary, folder) = folder();
    folder.enter().expect("a folder");
    let lease = life::new_lease().expect("a number");
    let (ended, mut ends) = unbounded_channel();
    for (is_certain, make) in [(true, false), (false, true)] {
        if make {
            // Opening it goes round in circles.
            std::os::unix::fs::symlink(folder.lease(lease), folder.lease(lease)).expect("made");
        }
        life::wait_for_end(&folder, lease, ended.clone()).expect("a thread");
        let end = within(soon(), ends.recv())
            .await
            .flatten()
            .expect("in time");
        assert_eq!((end.lease, end.is_certain), (lease, is_certain));
    }
}

#[tokio::test]
async fn who_watches_a_folder_begins_anew_in_the_one_that_takes_its_place() {
    let (_temporary, folder) = folder();
    let (_first, _) = Run::hold(&folder, wanted("job")).await;
    let mut clusters = Vec::new();
    let tell = |witnessed: crate::service::Witnessed<'_>| {
        if let crate::service::Witnessed::From(_, cluster) = witnessed {
            clusters.push(cluster);
            if clusters.len() == 1 {
                let old = folder.path.with_extension("old");
                std::fs::rename(&folder.path, old).expect("renamed");
                Life::begin(&folder).expect("another folder");
            }
        }
        clusters.len() < 2
    };
    let prefix = Prefix::default();
    let watched = watch(&folder, &prefix, None, soon(), tell);
    within(soon(), watched)
        .await
        .expect("in time")
        .expect("a folder");
    assert_ne!(clusters[0], clusters[1]);
}

#[tokio::test]
async fn a_waiter_that_is_stopped_loses_its_place_after_its_ttl_and_a_holder_does_not() {
    let (_temporary, folder) = folder();
    let brief = || Wanted {
        ttl: Duration::from_secs(1),
        ..wanted("job")
    };
    let (mut first, _) = Run::hold(&folder, brief()).await;
    let mut second = Run::begin(&folder, brief());
    second.token().await;
    second.waiting().await;
    let mut third = Run::begin(&folder, wanted("job"));
    third.token().await;
    third.waiting().await;
    // Nobody renews: the holder keeps its place, and the second one has lost it.
    reached(clock::now() + Duration::from_millis(1100)).await;
    assert_eq!(inspected(&folder, "job").await.held, 1);
    assert_eq!(second.next().await, Event::Gone(Loss::LeaseGone));
    assert_eq!(third.waiting().await.place, 1);
    // It goes on, and queues behind.
    second.service.enqueue(soon());
    second.token().await;
    assert_eq!(second.waiting().await.place, 2);
    first.release().await;
    third.admitted().await;
    third.release().await;
    second.admitted().await;
}

#[tokio::test]
async fn a_waiter_that_renews_keeps_its_place() {
    let (_temporary, folder) = folder();
    let (_first, _) = Run::hold(&folder, wanted("job")).await;
    let mut second = Run::begin(
        &folder,
        Wanted {
            ttl: Duration::from_secs(1),
            ..wanted("job")
        },
    );
    second.token().await;
    second.waiting().await;
    for _ in 0..3 {
        reached(clock::now() + Duration::from_millis(500)).await;
        second.service.renew(soon());
        assert!(matches!(second.next().await, Event::Renewed { .. }));
    }
    assert_eq!(inspected(&folder, "job").await.entries.len(), 2);
}

#[tokio::test]
async fn a_store_of_the_first_layout_is_brought_up_to_this_one() {
    let (_temporary, folder) = folder();
    folder.enter().expect("a folder");
    let desk = Desk::open(&folder);
    let made = desk.ask(soon(), |txn| txn.put("/leasehold/~last/x", b"{}", None));
    made.await.expect("made");
    let db = rusqlite::Connection::open(folder.store()).expect("a store");
    db.execute_batch("ALTER TABLE ttls DROP COLUMN waits; PRAGMA user_version = 1")
        .expect("as it was");
    drop((db, desk));
    let (_first, token) = Run::hold(&folder, wanted("job")).await;
    assert_eq!(token.get(), 3);
}

#[tokio::test]
async fn what_dead_runs_left_is_swept_away_and_what_living_ones_have_stays() {
    let (_temporary, folder) = folder();
    let living = Life::begin(&folder).expect("a life");
    for _ in 0..3 {
        let dead = Life::begin(&folder).expect("a life");
        std::fs::write(folder.bell(dead.lease()), "").expect("a bell");
    }
    let left = |folder| std::fs::read_dir(folder).expect("a folder").count();
    let last = Life::begin(&folder).expect("a life");
    assert_eq!((left(folder.leases()), left(folder.bells())), (2, 0));
    drop((living, last));
}

#[tokio::test]
async fn after_a_reboot_the_wall_clock_decides_how_long_something_is_kept() {
    let (_temporary, folder) = folder();
    folder.enter().expect("a folder");
    let desk = Desk::open(&folder);
    for (key, seconds) in [("/leasehold/a", 0), ("/leasehold/b", 3600)] {
        let put = desk.ask(soon(), move |txn| {
            let lease = txn.lease_for(Duration::from_secs(seconds))?;
            txn.put(key, b"{}", Some(lease))
        });
        put.await.expect("put");
    }
    // Of another boot, whose clock says nothing here: nothing would be over, or all.
    let db = rusqlite::Connection::open(folder.store()).expect("a store");
    let changed = "UPDATE times SET boot = 'another', ends_at = CASE ends_at_wall > ?1 WHEN 1 THEN 0 ELSE 9e18 END";
    let soon_at = clock::wall().as_second() + 60;
    db.execute(changed, [soon_at]).expect("the layout");
    // One whole second was added to be on the safe side.
    reached(clock::now() + Duration::from_millis(2100)).await;
    let there = desk.ask(soon(), |txn| {
        Ok((
            txn.get("/leasehold/a")?.is_some(),
            txn.get("/leasehold/b")?.is_some(),
        ))
    });
    assert_eq!(there.await, Ok((false, true)));
}
