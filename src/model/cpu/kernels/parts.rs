//! A buffer that the tasks of one region write in parts, each task its own, without a copy.

use std::marker::PhantomData;

use super::SyncPtr;
use super::pool::Pool;

/// Where the parts of a buffer lie.
///
/// The buffer holds groups, `group_stride` apart from `base` on. A group holds one part per task of the group, and
/// each part is `pieces` pieces, `piece_stride` apart. The pieces of a group's parts lie side by side in a stretch of
/// `width` values: every piece has `len` values, the last of the stretch what is left of it.
#[derive(Clone, Copy)]
pub(crate) struct PartsLayout {
    pub(crate) base: usize,
    pub(crate) group_stride: usize,
    pub(crate) width: usize,
    pub(crate) len: usize,
    pub(crate) pieces: usize,
    pub(crate) piece_stride: usize,
}

impl PartsLayout {
    /// Parts of `len` values, one after the other from the start of a buffer.
    pub(crate) fn chunks(len: usize) -> Self {
        Self {
            base: 0,
            group_stride: len,
            width: len,
            len,
            pieces: 1,
            piece_stride: len,
        }
    }

    /// Tasks per group.
    pub(crate) fn tasks(&self) -> usize {
        self.width.div_ceil(self.len)
    }

    // No value belongs to two parts: pieces of a stretch follow each other, stretches and groups do not overlap.
    fn disjoint(&self) -> bool {
        self.len > 0
            && self.pieces > 0
            && self.width <= self.piece_stride
            && (self.pieces - 1) * self.piece_stride + self.width <= self.group_stride
    }

    // Values up to the end of the last of `groups` groups.
    fn end(&self, groups: usize) -> usize {
        let last = |groups: usize| (groups - 1) * self.group_stride + (self.pieces - 1) * self.piece_stride;
        if groups == 0 {
            return 0;
        }
        self.base + last(groups) + self.width
    }
}

/// A buffer in parts.
pub(crate) struct Parts<'a> {
    at: SyncPtr,
    layout: PartsLayout,
    tasks: usize,
    buffer: PhantomData<&'a mut [f32]>,
}

/// One task's part of a buffer.
pub(crate) struct Part<'a> {
    at: SyncPtr,
    from: usize,
    len: usize,
    layout: PartsLayout,
    buffer: PhantomData<&'a mut [f32]>,
}

impl<'a> Parts<'a> {
    /// Divides `buffer` into the parts of `tasks` tasks. Panics where parts would overlap or leave the buffer.
    pub(crate) fn new(buffer: &'a mut [f32], layout: PartsLayout, tasks: usize) -> Self {
        assert!(layout.disjoint(), "parts overlap");
        let groups = tasks.div_ceil(layout.tasks());
        assert!(layout.end(groups) <= buffer.len(), "parts leave the buffer");
        Self {
            at: SyncPtr(buffer.as_mut_ptr()),
            layout,
            tasks,
            buffer: PhantomData,
        }
    }

    /// # Safety
    /// `task` is less than the number of tasks, and its part is in use once at a time.
    unsafe fn part(&self, task: usize) -> Part<'_> {
        let (group, place) = (task / self.layout.tasks(), task % self.layout.tasks());
        let within = place * self.layout.len;
        Part {
            at: self.at,
            from: self.layout.base + group * self.layout.group_stride + within,
            len: self.layout.len.min(self.layout.width - within),
            layout: self.layout,
            buffer: PhantomData,
        }
    }
}

impl Part<'_> {
    /// Returns piece `index`.
    pub(crate) fn piece(&mut self, index: usize) -> &mut [f32] {
        assert!(index < self.layout.pieces, "a part has so many pieces");
        let from = self.from + index * self.layout.piece_stride;
        // SAFETY: within the buffer and disjoint from all other parts, as `Parts::new` asserted; pieces of this part are
        // lent one at a time.
        unsafe { self.at.slice(from, self.len) }
    }
}

impl Pool {
    /// Calls `f` once per task with the task's number and its parts: spread over the threads if `parallel`, else here.
    pub(crate) fn run_parts<const N: usize>(
        &mut self,
        tasks: usize,
        parallel: bool,
        parts: [Parts<'_>; N],
        f: &(dyn Fn(usize, [Part<'_>; N]) + Sync),
    ) {
        assert!(parts.iter().all(|p| p.tasks >= tasks), "more tasks than parts");
        // SAFETY: each task runs once, so each part is in use once; there is one for every task.
        let task = |i: usize| f(i, std::array::from_fn(|n| unsafe { parts[n].part(i) }));
        if parallel {
            self.run(tasks, &task);
        } else {
            (0..tasks).for_each(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Two groups of two tasks; a part is two pieces. The last pieces of a stretch are short.
    const LAYOUT: PartsLayout = PartsLayout {
        base: 1,
        group_stride: 11,
        width: 5,
        len: 3,
        pieces: 2,
        piece_stride: 5,
    };

    #[test]
    fn every_value_of_a_group_belongs_to_one_task() {
        let mut buffer = vec![9.0; 23];
        let parts = Parts::new(&mut buffer, LAYOUT, 4);
        let mut pool = Pool::new(2).unwrap();
        pool.run_parts(4, true, [parts], &|i, [mut part]| {
            for piece in 0..2 {
                part.piece(piece)
                    .iter_mut()
                    .for_each(|x| *x = (10 * i + piece) as f32);
            }
        });
        let group = |first: usize| {
            let stretch = |piece: usize| {
                let (a, b) = ((10 * first + piece) as f32, (10 * first + 10 + piece) as f32);
                [a, a, a, b, b]
            };
            [stretch(0), stretch(1)].concat()
        };
        let want = [vec![9.0], group(0), vec![9.0], group(2), vec![9.0]].concat();
        assert_eq!(buffer, want);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn parts_that_overlap_are_refused() {
        let layout = PartsLayout {
            group_stride: 9,
            ..LAYOUT
        };
        Parts::new(&mut [0.0; 100], layout, 4);
    }

    #[test]
    #[should_panic(expected = "leave the buffer")]
    fn parts_past_the_end_are_refused() {
        Parts::new(&mut [0.0; 21], LAYOUT, 4);
    }
}
