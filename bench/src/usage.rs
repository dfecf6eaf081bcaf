//! CPU time and memory of a process, from `/proc`.

use std::fs;
use std::time::Duration;

/// Length of a clock tick in `/proc/PID/stat`: `USER_HZ` is 100 on every platform Linux has kept.
const TICK: Duration = Duration::from_millis(10);

/// CPU time a process has used so far, in user and kernel mode.
///
/// The scheduler's nanoseconds, summed over the live threads, where the kernel keeps them; else clock ticks, which are
/// too coarse for rounds under a second. `None` when the process is gone.
pub fn cpu(pid: u32) -> Option<Duration> {
    scheduler_time(pid).filter(|time| !time.is_zero()).or_else(|| tick_time(pid))
}

/// Resident memory of a process in bytes. `None` when the process is gone.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Processes that ran or wanted to run on this machine in the last minute, on average.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

fn scheduler_time(pid: u32) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        total += Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?);
    }
    Some(total)
}

fn tick_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold spaces and parentheses: fields are counted from behind it.
    let fields = stat.get(stat.rfind(')')? + 1..)?;
    let ticks: u32 = fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u32>().ok()).sum();
    Some(TICK * ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_see_this_process_work() {
        let pid = std::process::id();
        let work = Duration::from_millis(30);
        // However long that takes on a busy machine.
        while cpu(pid).unwrap() < work || tick_time(pid).unwrap() < work {
            std::hint::black_box(resident_bytes(pid));
        }
        assert!(resident_bytes(pid).unwrap() > 100_000);
    }
}
