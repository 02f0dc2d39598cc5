//! The order of a step's parts on a device: which part follows which, and which may run side by side.

use crate::model::Part;

/// One part of a step. A schedule is a list of tasks in an order in which they may be computed one after the other.
pub(crate) struct Task<'a, B> {
    pub(crate) part: Part,
    /// Parts earlier in the schedule whose results this one reads. Parts of which neither follows the other must not
    /// write what the other reads: they run side by side, or in either order.
    pub(crate) after: &'a [Part],
    /// Queues the part's work on a device.
    pub(crate) issue: &'a dyn Fn(&mut B),
}

/// Returns a chain per task. Tasks of one chain follow each other, so one queue computes them without waiting for
/// another; chains may run side by side. The last task's chain is chain 0.
#[cfg(any(test, feature = "cuda"))]
pub(crate) fn chains<B>(schedule: &[Task<'_, B>]) -> Vec<usize> {
    let mut ends: Vec<Part> = Vec::with_capacity(schedule.len());
    let mut chains = Vec::with_capacity(schedule.len());
    for task in schedule {
        let chain = match ends.iter().position(|end| task.after.contains(end)) {
            Some(chain) => chain,
            None => ends.len(),
        };
        ends.resize(ends.len().max(chain + 1), task.part);
        ends[chain] = task.part;
        chains.push(chain);
    }
    let last = chains.last().copied().unwrap_or(0);
    for chain in &mut chains {
        match *chain {
            0 => *chain = last,
            n if n == last => *chain = 0,
            _ => {}
        }
    }
    chains
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chains_of(after: [&[Part]; 2]) -> Vec<usize> {
        let parts = Part::ALL.into_iter().zip(after);
        let tasks = parts.map(|(part, after)| Task::<()> {
            part,
            after,
            issue: &|_| {},
        });
        chains(&tasks.collect::<Vec<_>>())
    }

    #[test]
    fn parts_that_need_nothing_of_each_other_get_chains_of_their_own() {
        assert_eq!(chains_of([&[], &[]]), [1, 0]);
    }

    #[test]
    fn a_part_that_follows_another_joins_its_chain() {
        assert_eq!(chains_of([&[], &[Part::MimiEncoder]]), [0, 0]);
    }
}
