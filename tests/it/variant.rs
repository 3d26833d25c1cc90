//! Ways to run the server that no reply may show: into how many shards a database is cut, how many
//! workers serve, and what would be evicted if memory, of which there is plenty, became short.

use std::fmt;

use linchpin_server::config::{Phase, Settings};
use linchpin_server::engine::SHARDS_DEFAULT;
use linchpin_server::inproc::InprocOptions;
use linchpin_server::policy::Policy;

/// Shards and workers; first what is plain.
const SHAPES: [(usize, usize); 6] = [
    (SHARDS_DEFAULT, 1),
    (1, 4),
    (4, 1),
    (SHARDS_DEFAULT, 4),
    (1, 1),
    (4, 4),
];
/// More than any test comes near.
const MAXMEMORY: &str = "4gb";

/// One way to run the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    /// Shards per database; only a server in this process can be told.
    pub(crate) shards: usize,
    /// Workers, which are threads where the server is a process.
    pub(crate) workers: usize,
    /// The policy under a `maxmemory` that is never reached; none is set without.
    pub(crate) policy: Option<Policy>,
}

impl Variant {
    /// As a server is started without a word.
    pub(crate) const PLAIN: Variant = Variant {
        shards: SHARDS_DEFAULT,
        workers: 1,
        policy: None,
    };

    /// How many turns make [`Variant::all`] of [`Variant::round`].
    pub(crate) const TURNS: usize = SHAPES.len();

    /// Every shape with every policy and with none, the plain one first.
    pub(crate) fn all() -> Vec<Variant> {
        let policies = || Policy::ALL.iter().copied().map(Some);
        let policies = || std::iter::once(None).chain(policies());
        let variants = SHAPES.into_iter().flat_map(|(shards, workers)| {
            policies().map(move |policy| Variant {
                shards,
                workers,
                policy,
            })
        });
        variants.collect()
    }

    /// A part of them: every shape without a policy but the plain one, and every policy. Shapes go
    /// round among policies, and `turn` says where they begin.
    pub(crate) fn round(turn: usize) -> Vec<Variant> {
        let mut round = Variant::all();
        round.retain(|variant| {
            let Some(policy) = variant.policy else {
                return variant != &Variant::PLAIN;
            };
            let shape = SHAPES[(policy as usize + turn) % SHAPES.len()];
            shape == (variant.shards, variant.workers)
        });
        round
    }

    /// What a process is to be started with beside `settings`, which go before.
    pub(crate) fn settings(self, settings: &[(String, String)]) -> Vec<(String, String)> {
        let mut own = vec![("io-threads", self.workers.to_string())];
        own.extend(self.memory_settings());
        let is_free = |name: &str| settings.iter().all(|(taken, _)| taken != name);
        own.retain(|(name, _)| is_free(name));
        let own = own
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        own.chain(settings.iter().cloned()).collect()
    }

    /// How a server in this process is made, with `settings`, which go before.
    pub(crate) fn options(self, settings: &[(String, String)]) -> Result<InprocOptions, String> {
        let own = self.memory_settings();
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        let settings = settings.iter().map(|(name, value)| (&**name, &**value));
        let mut all = Settings::default();
        for (name, value) in own.chain(settings) {
            let words: Vec<&str> = value.split(' ').collect();
            all.set(name, &words, Phase::Start)
                .map_err(|error| format!("{name} {value}: {error:?}"))?;
        }
        Ok(InprocOptions {
            settings: all,
            shards: self.shards,
            workers: self.workers,
            ..InprocOptions::default()
        })
    }

    fn memory_settings(self) -> Vec<(&'static str, String)> {
        let Some(policy) = self.policy else {
            return Vec::new();
        };
        vec![
            ("maxmemory", MAXMEMORY.to_owned()),
            ("maxmemory-policy", policy.name().to_owned()),
        ]
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Variant {
            shards, workers, ..
        } = self;
        write!(f, "{shards} shards, {workers} workers, ")?;
        match self.policy {
            Some(policy) => write!(f, "maxmemory {MAXMEMORY} under {}", policy.name()),
            None => f.write_str("no maxmemory"),
        }
    }
}

/// What a transcript may be played without, because a reply of it does show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aspect {
    /// `maxmemory`, and with it every policy.
    Maxmemory,
    /// Policies that count uses.
    Lfu,
}

impl Aspect {
    /// The aspect that a transcript calls so.
    pub(crate) fn parse(name: &str) -> Option<Aspect> {
        match name {
            "maxmemory" => Some(Aspect::Maxmemory),
            "lfu" => Some(Aspect::Lfu),
            _ => None,
        }
    }

    /// What a transcript calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Aspect::Maxmemory => "maxmemory",
            Aspect::Lfu => "lfu",
        }
    }

    /// Whether the server has it when it is run in this way.
    pub(crate) fn is_in(self, variant: Variant) -> bool {
        match self {
            Aspect::Maxmemory => variant.policy.is_some(),
            Aspect::Lfu => variant.policy.is_some_and(Policy::counts_uses),
        }
    }
}
