//! STUB
#![allow(missing_docs)]
use crate::sync::Wake;
use std::sync::Arc;
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub written: u64,
    pub synced: u64,
}
impl Needs {
    pub fn synced(frame: u64) -> Self {
        Self {
            written: frame,
            synced: frame,
        }
    }
    pub fn covers(self, other: Self) -> bool {
        self.written >= other.written && self.synced >= other.synced
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Open,
    Behind,
    Full,
    Broken,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Always,
    EverySecond,
    No,
}
#[derive(Debug)]
pub struct Log;
impl Log {
    pub fn commit(&self, _side: usize, _payload: &[u8]) -> u64 {
        0
    }
    pub fn next(&self) -> Needs {
        Needs::default()
    }
    pub fn request(&self, _needs: Needs) {}
    pub fn is_met(&self, _needs: Needs) -> bool {
        true
    }
    pub fn admit(&self, _bytes: usize) -> Admission {
        Admission::Open
    }
    pub fn needs(&self, frame: u64) -> Needs {
        match self.policy() {
            Policy::Always => Needs {
                written: frame,
                synced: frame,
            },
            _ => Needs {
                written: frame,
                synced: 0,
            },
        }
    }
    pub fn policy(&self) -> Policy {
        Policy::No
    }
    pub(crate) fn watch(&self, _worker: usize, _wake: Arc<dyn Wake>) {}
    pub fn wait(&self, _worker: usize) {}
    pub fn stuck_ms(&self) -> u64 {
        0
    }
}
impl crate::engine::Sink for Log {
    fn commit(&self, side: usize, frame: &[u8]) -> u64 {
        self.commit(side, frame)
    }
}
