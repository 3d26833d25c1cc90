//! The registry: every open connection, for `CLIENT LIST` and its kin.
//!
//! A connection enters when it opens and leaves when it closes. Its own worker refreshes what
//! changes once per batch; anybody reads it or posts to its outbox.
//!
//! Cost: one uncontended lock per batch; a list costs O(connections).

use super::budget::{Budget, Holding};
use super::outbox::{Outbox, Post};
use crate::command::conn::{Conn, Names};
use crate::command::host::{ClientFacts, ClientState, Clients};
use crate::engine::Ledger;
use crate::pubsub::Mailbox;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, OnceLock, Wake};
use dashmap::DashMap;
use std::sync::Arc;

/// Wakes a connection's task, whatever runs it.
pub(crate) type Waker = Arc<dyn Wake>;

/// Where a connection comes from and where it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// `ip:port`, or the path of the Unix socket and `:0`.
    pub(crate) addr: Arc<str>,
    /// The same of our side.
    pub(crate) laddr: Arc<str>,
    /// File descriptor, -1 for none.
    pub(crate) fd: i32,
    /// It came through the Unix socket.
    pub(crate) unix: bool,
}

/// One open connection, as others see it.
#[derive(Debug)]
pub(crate) struct Client {
    id: u64,
    origin: Origin,
    opened_ms: u64,
    seen: Mutex<(Arc<Names>, ClientState)>,
    holding: Holding,
    outbox: Outbox<Waker>,
    worker: usize,
    /// Made when it first listens to anything.
    mailbox: OnceLock<Arc<Mailbox>>,
}

impl std::fmt::Debug for dyn Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wake")
    }
}

impl Client {
    /// The connection's number.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Where it comes from.
    pub(crate) fn addr(&self) -> &str {
        &self.origin.addr
    }

    /// What others posted.
    pub(crate) fn outbox(&self) -> &Outbox<Waker> {
        &self.outbox
    }

    /// Where messages for it come in.
    fn mailbox(&self) -> Arc<Mailbox> {
        let task = || Arc::clone(self.outbox.task());
        let make = || Arc::new(Mailbox::new(self.id, self.worker, task()));
        Arc::clone(self.mailbox.get_or_init(make))
    }

    /// What it holds of memory.
    pub(crate) fn holding(&self) -> &Holding {
        &self.holding
    }

    /// Shows others what the connection is like now.
    pub(crate) fn refresh(&self, state: ClientState, conn: &mut Conn) {
        let mut seen = self.seen.lock();
        seen.1 = state;
        if std::mem::take(&mut conn.names_changed) {
            seen.0 = Arc::new(conn.names.clone());
        }
    }

    /// What others saw last.
    pub(crate) fn state(&self) -> ClientState {
        self.seen.lock().1
    }

    fn facts(&self) -> ClientFacts {
        let (names, state) = {
            let seen = self.seen.lock();
            (Arc::clone(&seen.0), seen.1)
        };
        ClientFacts {
            id: self.id,
            addr: Arc::clone(&self.origin.addr),
            laddr: Arc::clone(&self.origin.laddr),
            fd: self.origin.fd,
            unix: self.origin.unix,
            names,
            opened_ms: self.opened_ms,
            memory_bytes: self.holding.bytes(),
            dropped: self.mailbox.get().map_or(0, |mailbox| mailbox.dropped()),
            state,
        }
    }
}

/// All open connections.
#[derive(Debug)]
pub(crate) struct Registry {
    next_id: AtomicU64,
    open: AtomicUsize,
    clients: DashMap<u64, Arc<Client>>,
    /// What all share who have not said who they are.
    nameless: Arc<Names>,
    budget: Budget,
}

impl Registry {
    /// A registry of nobody, whose connections report to `ledger` what they hold.
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            next_id: AtomicU64::new(0),
            nameless: Arc::default(),
            open: AtomicUsize::new(0),
            clients: DashMap::new(),
            budget: Budget::new(ledger),
        }
    }

    /// What all connections hold together.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Limits what all connections hold together. O(connections).
    pub(crate) fn limit_clients(&self, bytes_max: Option<u64>) {
        let clients = self.clients.iter();
        let clients = clients.map(|client| Arc::clone(client.value()));
        self.budget.limit(bytes_max, clients);
    }

    /// Ends connections, those that hold most, until the others hold no more than they may; answers
    /// which.
    pub(crate) fn evict(&self) -> Vec<Arc<Client>> {
        let mut gone = Vec::new();
        while let Some(client) = self.budget.choose() {
            if self.kill(client.id()) {
                gone.push(client);
            }
        }
        gone
    }

    /// Enters a connection of worker `worker`.
    pub(crate) fn open(
        &self,
        origin: Origin,
        opened_ms: u64,
        worker: usize,
        waker: Waker,
    ) -> Arc<Client> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let state = ClientState {
            active_ms: opened_ms,
            ..ClientState::default()
        };
        let client = Arc::new(Client {
            id,
            origin,
            opened_ms,
            seen: Mutex::new((Arc::clone(&self.nameless), state)),
            holding: Holding::new(),
            outbox: Outbox::new(waker),
            worker,
            mailbox: OnceLock::new(),
        });
        self.open.fetch_add(1, Ordering::Relaxed);
        self.clients.insert(id, Arc::clone(&client));
        client
    }

    /// Takes a connection out, if it is still there.
    pub(crate) fn close(&self, id: u64) -> Option<Arc<Client>> {
        let (_, client) = self.clients.remove(&id)?;
        self.open.fetch_sub(1, Ordering::Relaxed);
        Some(client)
    }

    /// Number of open connections.
    pub(crate) fn len(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Leaves a post for a connection; answers whether it will be looked at.
    pub(crate) fn post(&self, id: u64, post: Post) -> bool {
        let client = self.clients.get(&id).map(|client| Arc::clone(&client));
        client.is_some_and(|client| client.outbox.post(post))
    }

    /// Wakes the task of every connection.
    pub(crate) fn wake_all(&self) {
        for client in &self.clients {
            client.outbox.task().wake();
        }
    }
}

impl Clients for Registry {
    fn list(&self) -> Vec<ClientFacts> {
        let mut facts: Vec<_> = self.clients.iter().map(|client| client.facts()).collect();
        facts.sort_unstable_by_key(|client| client.id);
        facts
    }

    fn find(&self, id: u64) -> Option<ClientFacts> {
        self.clients.get(&id).map(|client| client.facts())
    }

    fn mailbox(&self, id: u64) -> Option<Arc<Mailbox>> {
        self.clients.get(&id).map(|client| client.mailbox())
    }

    fn kill(&self, id: u64) -> bool {
        // Gone for everybody from now on, though its worker has yet to close the socket.
        let client = self.close(id);
        client.is_some_and(|client| client.outbox.post(Post::Close))
    }
}
