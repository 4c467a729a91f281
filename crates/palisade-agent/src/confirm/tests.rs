//! What follows from what was seen, with a clock of its own.

use super::*;

/// A clock, and what the engine does with the answers.
struct World {
    start: Instant,
    now: Instant,
    confirm: Confirm,
}

impl World {
    fn new() -> World {
        let now = Instant::now();
        World { start: now, now, confirm: Confirm { is_wanted: true, ..Confirm::default() } }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// An attempt that begins now, if one is due, and takes so long.
    fn probe(&mut self, worked: bool, takes: Duration) -> Option<Step> {
        assert!(self.confirm.begins(self.now), "no attempt is due after {:?}", self.now - self.start);
        assert!(!self.confirm.begins(self.now), "one at a time");
        let began = self.now;
        self.pass(takes);
        self.confirm.probed(Probe { began, worked }, self.now)
    }

    /// A change before which a connection works, or does not.
    fn change(&mut self, kind: PolicyKind, name: &str, works: bool) -> bool {
        assert!(!self.confirm.lets_through(self.now));
        self.probe(works, Duration::from_millis(1));
        assert!(self.confirm.lets_through(self.now));
        self.changed(kind, name)
    }

    fn changed(&mut self, kind: PolicyKind, name: &str) -> bool {
        self.confirm.changed([(kind, BTreeSet::from([name.to_owned()]))].into(), self.now)
    }

    /// Attempts that fail, as they are due, until something is to be done; how long that took.
    fn lose(&mut self) -> (Step, Duration) {
        let since = self.now;
        loop {
            if let Some(step) = self.probe(false, Duration::from_secs(1)) {
                return (step, self.now - since);
            }
            self.now = self.confirm.due(self.now).unwrap().max(self.now);
        }
    }

    fn undone(&self) -> Vec<PolicyKind> {
        self.confirm.undone.keys().copied().collect()
    }
}

const MOMENT: Duration = Duration::from_millis(2);

#[test]
fn a_harmless_change_is_confirmed_at_once() {
    let mut world = World::new();
    assert!(world.change(PolicyKind::Ban, "a", true));
    assert!(world.confirm.is_open(PolicyKind::Ban) && !world.confirm.is_open(PolicyKind::Host));
    assert_eq!(world.probe(true, MOMENT), Some(Step::Confirm));
    assert!(!world.confirm.is_open(PolicyKind::Ban));
    assert_eq!((world.confirm.due(world.now), world.confirm.begins(world.now)), (None, false));
}

#[test]
fn a_change_that_cuts_is_taken_back_after_five_seconds() {
    let mut world = World::new();
    world.change(PolicyKind::Ban, "a", true);
    let (step, time) = world.lose();
    assert_eq!(step, Step::GoBack);
    assert!((PATIENCE..PATIENCE + Duration::from_secs(1)).contains(&time), "{time:?}");
    assert_eq!((world.undone(), world.confirm.kinds()), (vec![PolicyKind::Ban], vec![PolicyKind::Ban]));
    assert!(world.confirm.is_open(PolicyKind::Ban));
    // What was before brings the API server back: so it stays.
    assert_eq!(world.probe(true, MOMENT), None);
    assert_eq!((world.undone(), world.confirm.due(world.now)), (vec![PolicyKind::Ban], None));
    // Another kind is tried by itself; what is good of it changes nothing of this.
    world.pass(Duration::from_mins(1));
    world.change(PolicyKind::Host, "b", true);
    assert_eq!(world.probe(true, MOMENT), Some(Step::Confirm));
    assert_eq!(world.undone(), [PolicyKind::Ban]);
    // The same kind is tried again.
    world.pass(Duration::from_mins(1));
    world.change(PolicyKind::Ban, "a", true);
    assert_eq!(world.undone(), []);
    assert_eq!(world.probe(true, MOMENT), Some(Step::Confirm));
}

#[test]
fn what_was_taken_back_is_named_with_what_comes_after_it() {
    let mut world = World::new();
    world.change(PolicyKind::Ban, "cuts", true);
    world.lose();
    world.probe(true, MOMENT);
    world.pass(Duration::from_mins(1));
    world.change(PolicyKind::Ban, "other", true);
    world.lose();
    assert_eq!(world.confirm.undone[&PolicyKind::Ban], ["cuts", "other"].map(str::to_owned).into());
}

#[test]
fn a_change_that_is_not_to_blame_is_taken_again() {
    let mut world = World::new();
    world.change(PolicyKind::Host, "good", true);
    world.lose();
    world.probe(true, MOMENT);
    world.pass(Duration::from_mins(1));
    world.change(PolicyKind::Ban, "a", true);
    assert_eq!(world.lose().0, Step::GoBack);
    assert_eq!(world.undone(), [PolicyKind::Host, PolicyKind::Ban]);
    let (step, time) = world.lose();
    assert!(step == Step::TakeAgain && time >= PATIENCE, "{step:?} {time:?}");
    assert_eq!((world.undone(), world.confirm.kinds()), (vec![PolicyKind::Host], vec![PolicyKind::Ban]));
    assert_eq!(world.confirm.unconfirmed().count(), 1);
    // Nothing takes it back again; a connection confirms it.
    for _ in 0..10 {
        world.now = world.confirm.due(world.now).unwrap().max(world.now);
        assert_eq!(world.probe(false, MOMENT), None);
    }
    world.pass(INTERVAL_UNCONFIRMED);
    assert_eq!(world.probe(true, MOMENT), Some(Step::Confirm));
    assert_eq!(world.confirm.unconfirmed().count(), 0);
}

#[test]
fn what_nobody_could_confirm_before_stays() {
    let mut world = World::new();
    assert!(!world.change(PolicyKind::Ban, "a", false));
    assert!(!world.confirm.is_open(PolicyKind::Ban));
    assert_eq!(world.confirm.unconfirmed().count(), 0, "an answer may only be slow");
    for _ in 0..10 {
        assert_eq!(world.probe(false, MOMENT), None);
        world.now = world.confirm.due(world.now).unwrap();
    }
    // A later one is no better, until a connection works.
    assert!(!world.change(PolicyKind::Ban, "b", false));
    let (_, names) = world.confirm.unconfirmed().next().unwrap();
    assert_eq!(names.len(), 2);
    assert_eq!(world.probe(true, MOMENT), Some(Step::Confirm));
}

#[test]
fn a_change_waits_for_no_answer_longer_than_a_moment() {
    let mut world = World::new();
    assert!(!world.confirm.lets_through(world.now));
    assert!(world.confirm.begins(world.now));
    let due = world.confirm.due(world.now).unwrap();
    assert_eq!(due - world.now, WAIT_MAX);
    world.now = due;
    assert!(world.confirm.lets_through(world.now));
    assert!(!world.changed(PolicyKind::Ban, "a"), "nobody knows whether a connection worked");
    // An answer of before the change does not confirm it.
    assert_eq!(world.confirm.probed(Probe { began: world.start, worked: true }, world.now), None);
    assert_eq!(world.probe(true, MOMENT), Some(Step::Confirm));
    // What was seen just now is not asked for again.
    world.pass(FRESH / 2);
    assert!(world.confirm.lets_through(world.now));
    assert!(world.changed(PolicyKind::Ban, "a"));
}

#[test]
fn changes_in_between_count_with_the_first() {
    let mut world = World::new();
    world.change(PolicyKind::Ban, "a", true);
    assert!(world.confirm.begins(world.now));
    let began = world.now;
    world.pass(MOMENT);
    assert!(world.confirm.lets_through(world.now));
    assert!(world.changed(PolicyKind::Host, "b"));
    // It began before the second change.
    assert_eq!(world.confirm.probed(Probe { began, worked: true }, world.now), None);
    assert_eq!(world.lose().0, Step::GoBack);
    assert_eq!(world.undone(), [PolicyKind::Host, PolicyKind::Ban]);
}

#[test]
fn who_was_asleep_has_seen_nothing() {
    let mut world = World::new();
    world.change(PolicyKind::Ban, "a", true);
    assert_eq!(world.probe(false, Duration::from_mins(10)), None);
    world.pass(INTERVAL);
    assert_eq!(world.probe(true, MOMENT), Some(Step::Confirm));
}

#[test]
fn without_an_api_server_nothing_is_tried() {
    let mut confirm = Confirm::default();
    let now = Instant::now();
    assert!(confirm.lets_through(now));
    assert!(!confirm.changed([(PolicyKind::Ban, BTreeSet::new())].into(), now));
    assert_eq!((confirm.begins(now), confirm.due(now), confirm.is_open(PolicyKind::Ban)), (false, None, false));
}

#[test]
fn what_is_as_before_needs_no_confirmation() {
    let mut world = World::new();
    world.change(PolicyKind::Ban, "a", true);
    world.changed(PolicyKind::Host, "b");
    world.confirm.is_as_before(PolicyKind::Ban);
    assert!(world.confirm.is_open(PolicyKind::Host) && !world.confirm.is_open(PolicyKind::Ban));
    assert_eq!(world.lose().0, Step::GoBack);
    assert_eq!(world.undone(), [PolicyKind::Host]);
    world.probe(true, MOMENT);
    world.confirm.is_as_before(PolicyKind::Host);
    assert_eq!((world.undone(), world.confirm.due(world.now)), (vec![], None));
}
