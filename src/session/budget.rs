//! What all clients hold together, and who goes when that is more than `maxmemory-clients`.
//!
//! ```text
//!   class   0: up to 32 KiB   1: up to 64 KiB   2: up to 128 KiB  ...  19: from 8 GiB on
//!           { clients }       { clients }       { clients }
//! ```
//!
//! While there is a limit, each client that may go stands in the class of what it holds. Above the
//! limit clients of the highest class are dropped, any of it first, until the others fit. A client
//! that was told to go counts as gone, though its worker has yet to close it.
//!
//! Invariants: the `Clients` account of the ledger is the sum of what the clients of this server
//! reported last; a client stands in at most one class, and in none once it was told to go.
//!
//! Cost: two loads and a comparison where nothing has changed; a lock where a client passes from
//! one class to another; O(1) to find the client that goes.

use super::registry::Client;
use crate::engine::{Account, Ledger};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::collections::HashMap;
use std::sync::Arc;

/// Number of classes.
const CLASSES: usize = 20;
/// The lowest class is for clients with up to this many bytes; each next one for twice as many.
const CLASS_BYTES_MIN: usize = 32 << 10;
/// In no class.
const UNCLASSED: usize = usize::MAX;

/// The clients of one class, by their numbers.
type Class = HashMap<u64, Arc<Client>>;

/// The budget of all clients.
#[derive(Debug)]
pub(crate) struct Budget {
    ledger: Arc<Ledger>,
    /// 0 for none.
    bytes_max: AtomicU64,
    /// Bytes of clients that were told to go and have not gone yet.
    doomed_bytes: AtomicUsize,
    classes: Mutex<[Class; CLASSES]>,
}

/// What one client holds.
#[derive(Debug)]
pub(crate) struct Holding {
    bytes: AtomicUsize,
    /// It is not to go, whatever it holds.
    spared: AtomicBool,
    /// Changes under the lock of the classes.
    class: AtomicUsize,
    /// What it held when it was told to go. Changes under the lock of the classes.
    doomed_bytes: AtomicUsize,
}

impl Holding {
    /// Of a client that holds nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            spared: AtomicBool::new(false),
            class: AtomicUsize::new(UNCLASSED),
            doomed_bytes: AtomicUsize::new(0),
        }
    }

    /// Whether the client was told to go.
    fn is_doomed(&self) -> bool {
        self.doomed_bytes.load(Ordering::Relaxed) > 0
    }

    /// What the client reported last.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Budget {
    /// A budget without limit.
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            bytes_max: AtomicU64::new(0),
            doomed_bytes: AtomicUsize::new(0),
            classes: Mutex::new(std::array::from_fn(|_| Class::new())),
        }
    }

    /// Puts a limit in force; `clients` are all there are. O(clients) where it changes.
    pub(crate) fn limit(&self, bytes_max: Option<u64>, clients: impl Iterator<Item = Arc<Client>>) {
        let bytes_max = bytes_max.unwrap_or(0);
        if self.bytes_max.swap(bytes_max, Ordering::Relaxed) != bytes_max {
            clients.for_each(|client| self.classify(&client));
        }
    }

    /// A client reports what it now holds, and whether it is to be spared. Answers whether all
    /// hold more than they may. Called by the client's own worker.
    #[inline]
    pub(crate) fn report(&self, client: &Arc<Client>, bytes: usize, spared: bool) -> bool {
        let holding = client.holding();
        if holding.bytes() == bytes && holding.spared.load(Ordering::Relaxed) == spared {
            return false;
        }
        self.change(client, bytes, spared)
    }

    #[cold]
    fn change(&self, client: &Arc<Client>, bytes: usize, spared: bool) -> bool {
        let holding = client.holding();
        let before = holding.bytes.swap(bytes, Ordering::Relaxed);
        holding.spared.store(spared, Ordering::Relaxed);
        self.ledger.change(Account::Clients, before, bytes);
        if self.class_of(holding) != holding.class.load(Ordering::Relaxed) {
            self.classify(client);
        }
        !holding.is_doomed() && self.is_exceeded()
    }

    /// A client has gone.
    pub(crate) fn leave(&self, client: &Client) {
        let holding = client.holding();
        let before = holding.bytes.swap(0, Ordering::Relaxed);
        self.ledger.change(Account::Clients, before, 0);
        let mut classes = self.classes.lock();
        remove(&mut classes, client);
        // Nobody can tell it to go any more.
        holding.spared.store(true, Ordering::Relaxed);
        self.doom(holding, 0);
    }

    /// A client that is to go, if all hold more than they may: one of those that hold most. It
    /// counts as gone from now on.
    pub(crate) fn choose(&self) -> Option<Arc<Client>> {
        let mut classes = self.classes.lock();
        if !self.is_exceeded() {
            return None;
        }
        let class = classes.iter_mut().rfind(|class| !class.is_empty())?;
        let id = *class.keys().next()?;
        let client = class.remove(&id)?;
        let holding = client.holding();
        holding.class.store(UNCLASSED, Ordering::Relaxed);
        self.doom(holding, holding.bytes().max(1));
        Some(client)
    }

    /// Has these bytes count as gone, at least one of each client that is to go. With the classes
    /// locked.
    fn doom(&self, holding: &Holding, bytes: usize) {
        let before = holding.doomed_bytes.swap(bytes, Ordering::Relaxed);
        let more = bytes.wrapping_sub(before);
        self.doomed_bytes.fetch_add(more, Ordering::Relaxed);
    }

    fn is_exceeded(&self) -> bool {
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        if bytes_max == 0 {
            return false;
        }
        let bytes = self.ledger.bytes(Account::Clients);
        let doomed_bytes = self.doomed_bytes.load(Ordering::Relaxed);
        bytes.saturating_sub(doomed_bytes) as u64 > bytes_max
    }

    /// The class a client belongs to now.
    fn class_of(&self, holding: &Holding) -> usize {
        if self.bytes_max.load(Ordering::Relaxed) == 0 || holding.spared.load(Ordering::Relaxed) {
            return UNCLASSED;
        }
        let doublings = holding
            .bytes()
            .div_ceil(CLASS_BYTES_MIN)
            .next_power_of_two();
        (doublings.trailing_zeros() as usize).min(CLASSES - 1)
    }

    /// Puts a client where it belongs.
    fn classify(&self, client: &Arc<Client>) {
        let mut classes = self.classes.lock();
        remove(&mut classes, client);
        let holding = client.holding();
        let class = self.class_of(holding);
        if holding.is_doomed() {
            self.doom(holding, holding.bytes().max(1));
        } else if class != UNCLASSED {
            classes[class].insert(client.id(), Arc::clone(client));
            holding.class.store(class, Ordering::Relaxed);
        }
    }
}

fn remove(classes: &mut [Class; CLASSES], client: &Client) {
    let class = client.holding().class.swap(UNCLASSED, Ordering::Relaxed);
    if class != UNCLASSED {
        classes[class].remove(&client.id());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::engine::{Engine, Options};
    use crate::session::registry::{Origin, Registry};
    use crate::sync::Wake;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) {}
    }

    fn registry() -> (Engine, Registry) {
        let engine = Engine::new(Options::default(), None);
        let registry = Registry::new(Arc::clone(engine.ledger()));
        (engine, registry)
    }

    fn open(registry: &Registry) -> Arc<Client> {
        let origin = Origin {
            addr: "a:1".into(),
            laddr: "b:2".into(),
            fd: -1,
            unix: false,
        };
        registry.open(origin, 0, 0, Arc::new(Nobody))
    }

    #[test]
    fn the_client_that_holds_most_goes_first_and_counts_no_more() {
        let (engine, registry) = registry();
        let (small, large, spared) = (open(&registry), open(&registry), open(&registry));
        let budget = registry.budget();
        assert!(!budget.report(&large, 1 << 20, false));
        assert!(!budget.report(&spared, 4 << 20, true));
        registry.limit_clients(Some((5 << 20) + 1_000));
        assert!(!budget.report(&small, 1_000, false));
        assert!(budget.choose().is_none());
        assert!(budget.report(&small, 100_000, false));
        assert_eq!(budget.choose().map(|client| client.id()), Some(large.id()));
        assert!(budget.choose().is_none(), "the doomed one counts as gone");
        assert!(!budget.report(&large, 2 << 20, false), "and stays so");

        registry.limit_clients(Some(1 << 20));
        assert_eq!(budget.choose().map(|client| client.id()), Some(small.id()));
        assert!(
            budget.choose().is_none(),
            "nobody is left but the spared one"
        );
        for client in [small, large, spared] {
            budget.leave(&client);
        }
        assert_eq!(engine.ledger().bytes(Account::Clients), 0);
        assert_eq!(budget.doomed_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn without_a_limit_nobody_goes() {
        let (_engine, registry) = registry();
        let client = open(&registry);
        assert!(!registry.budget().report(&client, 1 << 40, false));
        assert!(registry.budget().choose().is_none());
    }
}
