//! Which cores threads may run on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Numbers of the cores that this thread may run on, in ascending order.
///
/// # Errors
/// The kernel refuses to say.
pub fn available() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect())
}

/// Keeps this thread, and every thread and process that it starts from now on, on `cores`.
///
/// # Errors
/// None of the cores exists, or the process may not use them.
pub fn pin(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    Ok(sched_setaffinity(None, &set)?)
}

/// Runs `act` with this thread kept on `cores`, then gives it back the cores it had.
///
/// # Errors
/// As [`pin`].
pub fn pinned<T>(cores: &[usize], act: impl FnOnce() -> T) -> io::Result<T> {
    let before = available()?;
    pin(cores)?;
    let result = act();
    pin(&before)?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_pinned_and_let_go() {
        let all = available().expect("affinity can be read");
        let last = *all.last().expect("there is a core");
        let inside = pinned(&[last], available).expect("a core of ours can be chosen");
        assert_eq!(inside.expect("affinity can be read"), [last]);
        assert_eq!(available().expect("affinity can be read"), all);
    }
}
