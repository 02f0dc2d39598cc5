//! What the operating system says about this process. Read from `/proc`; elsewhere the figures stay 0.

use std::time::Duration;

use super::catalogue::Process;

/// Ticks a second of the times in `/proc`: fixed at 100 for user space whatever the kernel's own clock.
const USER_HZ: u64 = 100;

/// One reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reading {
    cpu: Duration,
    resident: u64,
    threads: u64,
}

/// Reads the figures and publishes them. Blocks for some microseconds.
pub(super) fn sample(meters: &Process) {
    let text = |path: &str| std::fs::read_to_string(path).ok();
    if let Some(reading) = text("/proc/self/stat")
        .zip(text("/proc/self/status"))
        .and_then(|(a, b)| parse(&a, &b))
    {
        meters.cpu.set_total(reading.cpu);
        meters.resident.set(reading.resident as f64);
        meters.threads.set(reading.threads as f64);
    }
    if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
        meters.open_fds.set(fds.count() as f64);
    }
    if let Some(max) = text("/proc/self/limits").and_then(|limits| max_fds(&limits)) {
        meters.max_fds.set(max as f64);
    }
}

fn parse(stat: &str, status: &str) -> Option<Reading> {
    // The second field is the name in parentheses, which may hold anything; after it come state (3) .. utime (14), stime (15).
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Reading {
        cpu: Duration::from_millis(ticks * 1000 / USER_HZ),
        resident: field(status, "VmRSS:")? * 1024,
        threads: field(status, "Threads:")?,
    })
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn max_fds(limits: &str) -> Option<u64> {
    field(limits, "Max open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 4 0";
        let status = "Name:\tx\nVmRSS:\t  2048 kB\nThreads:\t7\n";
        let expected = Reading {
            cpu: Duration::from_secs(2),
            resident: 2048 * 1024,
            threads: 7,
        };
        assert_eq!(parse(stat, status), Some(expected));
    }

    #[test]
    fn text_that_is_not_a_reading_is_none() {
        assert_eq!(parse("12 (a) S", "VmRSS: 1 kB"), None);
        assert_eq!(
            max_fds("Max open files            unlimited            unlimited"),
            None
        );
    }

    #[test]
    fn the_limit_is_the_soft_one() {
        assert_eq!(
            max_fds("Limit\nMax open files            1024                 4096                 files"),
            Some(1024)
        );
    }
}
