//! What the kernel knows of this process, read from `/proc/self`.
//!
//! Everything is 0 where the kernel does not say.

use std::fs;

/// Memory and processor time of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUse {
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// The most it ever was, in bytes.
    pub rss_peak_bytes: u64,
    /// Processor time in user mode, in seconds.
    pub user_s: f64,
    /// Processor time in the kernel, in seconds.
    pub system_s: f64,
    /// All memory of the machine, in bytes.
    pub machine_bytes: u64,
}

/// Clock ticks per second of `/proc/self/stat`: fixed at 100 in the kernel's interface.
const TICKS_PER_S: f64 = 100.0;

impl ProcessUse {
    /// Asks the kernel. Reads three small files, about 50 µs.
    #[must_use]
    pub fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        let (user_s, system_s) = processor_time(&read("/proc/self/stat"));
        Self {
            rss_bytes: kib(&status, "VmRSS:"),
            rss_peak_bytes: kib(&status, "VmHWM:"),
            user_s,
            system_s,
            machine_bytes: kib(&read("/proc/meminfo"), "MemTotal:"),
        }
    }
}

/// The number of kibibytes behind `label`, in bytes.
fn kib(text: &str, label: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

/// User and system time, fields 14 and 15; the name before them may hold spaces and parentheses.
fn processor_time(stat: &str) -> (f64, f64) {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let seconds = |field: usize| {
        let ticks = after_name
            .split_whitespace()
            .nth(field)
            .and_then(|n| n.parse::<f64>().ok());
        ticks.unwrap_or(0.0) / TICKS_PER_S
    };
    (seconds(11), seconds(12))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_name_with_parentheses() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 5 1 1";
        assert_eq!(processor_time(stat), (2.5, 0.5));
        assert_eq!(processor_time(""), (0.0, 0.0));
        assert_eq!(
            kib("VmPeak: 9 kB\nVmRSS:\t    12 kB\n", "VmRSS:"),
            12 * 1_024
        );
    }
}
