//! The memory of this machine.

use std::fs;

/// Returns the bytes that the kernel could give without swapping. None where there is no `/proc`.
pub(in crate::model) fn free_bytes() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(kib * 1024)
}
