//! Slots of posted files: so many may be in work, and one user may not have them all.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::auth::{Method, Principal};

/// The slots of the server.
pub struct FileSlots {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_subject: HashMap<Arc<str>, usize>,
}

/// One slot; dropping it gives it back.
pub struct FileSlot {
    slots: Arc<FileSlots>,
    subject: Arc<str>,
}

/// Why there is no slot.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSlot {
    #[error("too many files are being transcribed: send it again in a while")]
    Full,
    #[error(
        "{0} of your files are being transcribed, which is the most allowed: send this one when one of them is done"
    )]
    Share(usize),
}

impl FileSlots {
    /// `most` slots in all; one user may have half of them, rounded up.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            taken: Mutex::default(),
        }
    }

    /// Takes a slot for `principal`. Where nobody needs a credential all are one subject, which may then have all slots.
    ///
    /// # Errors
    /// All slots are taken, or as many as one user may have.
    pub fn take(self: &Arc<Self>, principal: &Principal) -> Result<FileSlot, NoSlot> {
        let share = match principal.method {
            Method::Anonymous => self.most,
            _ => self.most.div_ceil(2),
        };
        let mut taken = self.taken.lock();
        if taken
            .by_subject
            .get(&principal.subject)
            .is_some_and(|own| *own >= share)
            && share < self.most
        {
            return Err(NoSlot::Share(share));
        }
        if taken.all >= self.most {
            return Err(NoSlot::Full);
        }
        taken.all += 1;
        *taken
            .by_subject
            .entry(Arc::clone(&principal.subject))
            .or_default() += 1;
        Ok(FileSlot {
            slots: Arc::clone(self),
            subject: Arc::clone(&principal.subject),
        })
    }
}

impl Drop for FileSlot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock();
        taken.all -= 1;
        if let Some(own) = taken.by_subject.get_mut(&self.subject) {
            *own -= 1;
            if *own == 0 {
                taken.by_subject.remove(&self.subject);
            }
        }
    }
}
