//! A buffer that the tasks of one parallel region write in strips, each task its own, without a copy.

use std::marker::PhantomData;

use super::SyncPtr;
use super::pool::Pool;

/// Where the strips of a buffer lie.
///
/// The buffer holds groups, `group_stride` apart from `base` on. A group holds one strip per task of the group, and
/// each strip is `pieces` pieces, `piece_stride` apart. The pieces of a group's strips lie side by side in a stretch of
/// `width` values: every piece has `len` values, the last of the stretch what is left of it.
#[derive(Clone, Copy)]
pub(crate) struct StripLayout {
    pub(crate) base: usize,
    pub(crate) group_stride: usize,
    pub(crate) width: usize,
    pub(crate) len: usize,
    pub(crate) pieces: usize,
    pub(crate) piece_stride: usize,
}

impl StripLayout {
    /// Returns the layout of strips of `len` values, one after the other from the start of a buffer.
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

    /// Returns the tasks per group.
    pub(crate) fn tasks(&self) -> usize {
        self.width.div_ceil(self.len)
    }

    // No value belongs to two strips: pieces of a stretch follow each other, stretches and groups do not overlap.
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

/// A buffer in strips.
pub(crate) struct Strips<'a> {
    at: SyncPtr,
    layout: StripLayout,
    tasks: usize,
    buffer: PhantomData<&'a mut [f32]>,
}

/// One task's strip of a buffer.
pub(crate) struct Strip<'a> {
    at: SyncPtr,
    from: usize,
    len: usize,
    layout: StripLayout,
    buffer: PhantomData<&'a mut [f32]>,
}

impl<'a> Strips<'a> {
    /// Divides `buffer` into the strips of `tasks` tasks. Panics where strips would overlap or leave the buffer.
    pub(crate) fn new(buffer: &'a mut [f32], layout: StripLayout, tasks: usize) -> Self {
        assert!(layout.disjoint(), "strips overlap");
        let groups = tasks.div_ceil(layout.tasks());
        assert!(layout.end(groups) <= buffer.len(), "strips leave the buffer");
        Self {
            at: SyncPtr(buffer.as_mut_ptr()),
            layout,
            tasks,
            buffer: PhantomData,
        }
    }

    /// # Safety
    /// `task` is less than the number of tasks, and its strip is in use once at a time.
    unsafe fn strip(&self, task: usize) -> Strip<'_> {
        let (group, place) = (task / self.layout.tasks(), task % self.layout.tasks());
        let within = place * self.layout.len;
        Strip {
            at: self.at,
            from: self.layout.base + group * self.layout.group_stride + within,
            len: self.layout.len.min(self.layout.width - within),
            layout: self.layout,
            buffer: PhantomData,
        }
    }
}

impl Strip<'_> {
    /// Returns piece `index`.
    pub(crate) fn piece(&mut self, index: usize) -> &mut [f32] {
        assert!(index < self.layout.pieces, "a strip has so many pieces");
        let from = self.from + index * self.layout.piece_stride;
        // SAFETY: within the buffer and disjoint from all other strips, as `Strips::new` asserted; pieces of this strip are
        // lent one at a time.
        unsafe { self.at.slice(from, self.len) }
    }
}

impl Pool {
    /// Calls `f` once per task with the task's number and its strips: spread over the threads if `parallel`, else here.
    pub(crate) fn run_strips<const N: usize>(
        &mut self,
        tasks: usize,
        parallel: bool,
        strips: [Strips<'_>; N],
        f: &(dyn Fn(usize, [Strip<'_>; N]) + Sync),
    ) {
        assert!(strips.iter().all(|s| s.tasks >= tasks), "more tasks than strips");
        // SAFETY: each task runs once, so each strip is in use once; there is one for every task.
        let task = |i: usize| f(i, std::array::from_fn(|n| unsafe { strips[n].strip(i) }));
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

    // Two groups of two tasks; a strip is two pieces. The last pieces of a stretch are short.
    const LAYOUT: StripLayout = StripLayout {
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
        let strips = Strips::new(&mut buffer, LAYOUT, 4);
        let mut pool = Pool::new(2).unwrap();
        pool.run_strips(4, true, [strips], &|i, [mut strip]| {
            for piece in 0..2 {
                strip
                    .piece(piece)
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
    fn strips_that_overlap_are_refused() {
        let layout = StripLayout {
            group_stride: 9,
            ..LAYOUT
        };
        Strips::new(&mut [0.0; 100], layout, 4);
    }

    #[test]
    #[should_panic(expected = "leave the buffer")]
    fn strips_past_the_end_are_refused() {
        Strips::new(&mut [0.0; 21], LAYOUT, 4);
    }
}
