//! The table of policies, `inet palisade`: when live connections are judged again, and how the kernel comes to hold it.

use std::time::{Duration, Instant};

use palisade_core::{Tables, TablesChange};
use palisade_nft::{
    Applied, ApplyError, Conntrack, Established, Generation, Held, Kernel, KernelError, Settings as Layout,
    Transaction, diff, lower,
};

use super::Programmed;

/// Live connections are judged again at most so often; a change that denies waits no longer than this for it, while new
/// connections meet it at once.
const CUT_INTERVAL: Duration = Duration::from_millis(200);
/// After so many generations the marks of the former ones are cleared, long before a number is used again.
const GENERATIONS_BEFORE_SWEEP: u8 = 100;
/// After so many without a sweep, connections are only cut after one that is waited for.
const GENERATIONS_MAX: u8 = 250;

/// What the kernel holds of the policies of pods.
#[derive(Debug)]
pub struct PolicyTable {
    kernel: Kernel,
    layout: Layout,
    /// What the kernel holds; `None` if nobody knows, so that the next step is a load.
    held: Option<Held>,
    generation: Generation,
    /// Whether this process has loaded the table: who did so before may have left a cut, or a sweep, undone.
    taken_over: bool,
    cuts: Cuts,
}

/// When live connections are judged again.
#[derive(Debug, Default)]
struct Cuts {
    last: Option<Instant>,
    due: Option<Instant>,
    /// Generations since the marks of former ones were cleared.
    unswept: u8,
}

impl PolicyTable {
    /// For the namespace of the calling thread. Touches nothing yet.
    pub fn new(kernel: Kernel, layout: Layout) -> PolicyTable {
        PolicyTable {
            kernel,
            layout,
            held: None,
            generation: Generation::FIRST,
            taken_over: false,
            cuts: Cuts::default(),
        }
    }

    /// The number of the rules in force.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The kernel, for what else is to be asked of it.
    pub fn kernel_mut(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// Whether the kernel holds the table.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn is_there(&mut self) -> Result<bool, KernelError> {
        Ok(self.kernel.read_back()?.is_some_and(|table| table.generation().is_some()))
    }

    /// Whether what is wanted is in force, as far as is known.
    pub fn is_in_force(&self) -> bool {
        self.held.is_some()
    }

    /// The kernel does not hold what it was told to: the next step is a load.
    pub fn doubt(&mut self) {
        self.held = None;
    }

    /// Takes the steps to these tables.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; the table is as before then, and the next step is a load.
    pub fn take(&mut self, steps: &[TablesChange], tables: &Tables, now: Instant) -> Result<Programmed, ApplyError> {
        let Some(held) = &mut self.held else { return self.load(tables, now) };
        if steps.is_empty() {
            return Ok(Programmed::default());
        }
        let cut = if steps.iter().any(TablesChange::may_deny) {
            self.cuts.ask(self.layout, now)
        } else {
            self.cuts.is_due(now)
        };
        let next = cut.then(|| self.generation.next());
        let transaction = held.lower_changes(steps, next);
        let applied = self.apply(&transaction)?;
        if let Some(next) = next {
            self.cut_with(next, now);
        }
        Ok(Programmed::by(&transaction, applied))
    }

    /// Brings other tables into force than those of the cluster: the last state, before the cluster is known.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; the table is as before then.
    pub fn load_other(&mut self, tables: &Tables, now: Instant) -> Result<Programmed, ApplyError> {
        self.held = None;
        let judged = self.judged();
        let done = load(&mut self.kernel, tables, self.layout, &mut self.generation, judged)?;
        self.loaded(&done, now);
        Ok(done)
    }

    /// Reads the table back and applies what differs from what is wanted.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; the table is as before then.
    pub fn load(&mut self, tables: &Tables, now: Instant) -> Result<Programmed, ApplyError> {
        if self.cuts.unswept >= GENERATIONS_MAX {
            self.sweep()?;
        }
        let judged = self.judged();
        let done = load(&mut self.kernel, tables, self.layout, &mut self.generation, judged)?;
        self.held = Some(Held::of(tables, &self.layout, self.generation));
        self.loaded(&done, now);
        Ok(done)
    }

    fn judged(&self) -> Judged {
        if self.taken_over { Judged::AsTheyAre } else { Judged::Again }
    }

    fn loaded(&mut self, done: &Programmed, now: Instant) {
        if done.operations > 0 {
            self.cut_with(self.generation, now);
        }
        if !std::mem::replace(&mut self.taken_over, true) {
            // Nobody knows how many generations ago the marks were cleared last.
            self.cuts.unswept = self.cuts.unswept.max(GENERATIONS_BEFORE_SWEEP);
        }
    }

    fn sweep(&mut self) -> Result<(), ApplyError> {
        clear_marks(self.generation)?;
        self.cuts.unswept = 0;
        Ok(())
    }

    /// When connections are to be judged again, if that waits.
    pub fn cut_due(&self) -> Option<Instant> {
        self.cuts.due
    }

    /// Has every live connection judged again by its next packet.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn cut(&mut self, tables: &Tables, now: Instant) -> Result<(), ApplyError> {
        if self.cuts.unswept >= GENERATIONS_MAX {
            self.sweep()?;
        }
        let Some(held) = &mut self.held else { return self.load(tables, now).map(drop) };
        let next = self.generation.next();
        let transaction = held.lower_changes(&[], Some(next));
        self.apply(&transaction)?;
        self.cut_with(next, now);
        Ok(())
    }

    /// Whether marks of former generations should be cleared now, in the background.
    pub fn wants_sweep(&self) -> bool {
        self.cuts.unswept >= GENERATIONS_BEFORE_SWEEP
    }

    /// A sweep that began at `generation` is done: only marks of that and of later ones are left.
    pub fn swept(&mut self, generation: Generation) {
        self.cuts.unswept = self.generation.number().wrapping_sub(generation.number());
    }

    /// Takes our table out of the kernel.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn remove(&mut self) -> Result<(), ApplyError> {
        self.held = None;
        self.kernel.remove_table().map(drop)
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Applied, ApplyError> {
        self.kernel.apply(transaction).inspect_err(|_| self.held = None)
    }

    fn cut_with(&mut self, generation: Generation, now: Instant) {
        self.generation = generation;
        self.cuts = Cuts { last: Some(now), due: None, unswept: self.cuts.unswept.saturating_add(1) };
    }
}

impl Cuts {
    fn is_due(&self, now: Instant) -> bool {
        self.unswept < GENERATIONS_MAX && self.due.is_some_and(|due| due <= now)
    }

    /// A change that denies is about to be applied: whether connections are judged again with it. If not, they
    /// are soon.
    fn ask(&mut self, layout: Layout, now: Instant) -> bool {
        if layout.established == Established::Keep {
            return false;
        }
        let earliest = self.last.map_or(now, |last| last + CUT_INTERVAL);
        let at_once = earliest <= now && self.unswept < GENERATIONS_MAX;
        if !at_once {
            self.due = Some(earliest.max(now));
        }
        at_once
    }
}

/// What becomes of live connections at a load that finds nothing to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    /// They pass as before.
    AsTheyAre,
    /// Each is judged again by its next packet, since whoever applied the rules may not have seen to that any more.
    Again,
}

/// Applies what differs between the kernel and these tables, as the generation after the one that is there; what
/// was done, without steps.
fn load(
    kernel: &mut Kernel,
    tables: &Tables,
    layout: Layout,
    generation: &mut Generation,
    judged: Judged,
) -> Result<Programmed, ApplyError> {
    let mut reached = *generation;
    let done = super::load(kernel, |have| {
        let there = have.as_ref().and_then(palisade_nft::Ruleset::generation);
        if there.is_none() {
            // Connections may still bear marks of a table that is gone, and would pass unjudged.
            clear_marks(Generation::FIRST)?;
        }
        // The mark that was kept is not that of the next generation.
        let in_force = there.unwrap_or(Generation::FIRST);
        let have = have.unwrap_or_default();
        (*generation, reached) = (in_force, in_force);
        let same = || diff(&have, &lower(tables, &layout, in_force)).operations().is_empty();
        if judged == Judged::AsTheyAre && same() {
            return Ok(None);
        }
        reached = in_force.next();
        Ok(Some(diff(&have, &lower(tables, &layout, reached))))
    })?;
    *generation = reached;
    Ok(done)
}

/// Clears the marks of all generations but this. Where the kernel cannot (preflight says so), nothing is cleared: rules
/// that are in force matter more.
fn clear_marks(keep: Generation) -> Result<(), KernelError> {
    match Conntrack::open().and_then(|mut conntrack| conntrack.sweep(keep)) {
        Ok(_) | Err(KernelError::Absent { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
