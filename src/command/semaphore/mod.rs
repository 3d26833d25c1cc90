//! Semaphores: a number of permits, given out in order.

pub mod permits;
