//! Rows of one model: which are free, and the lease that lets a session use one.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::bounds::Bounds;
use super::credits::{Credits, MIN_CHARGE};
use super::input::text::Piece;
use super::links::{IngressTx, LinkError};
use super::messages::{Attach, Ingress};
use super::outbox::OutboxTx;
use crate::stream::ids::{RowId, RowKey};
use crate::stream::input::{AudioBytes, Control};
use crate::stream::voice::{Speaker, Voice};

/// A set of rows that gives out the lowest first, so that the rows in use stay dense.
#[derive(Clone, Debug)]
struct RowBits {
    words: Box<[u64]>,
}

impl RowBits {
    fn full(rows: usize) -> Self {
        let mut bits = Self {
            words: vec![0; rows.div_ceil(64)].into(),
        };
        (0..rows).for_each(|row| bits.put(row));
        bits
    }

    fn take_lowest(&mut self) -> Option<usize> {
        let (i, word) = self.words.iter_mut().enumerate().find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros() as usize;
        *word &= *word - 1;
        Some(i * 64 + bit)
    }

    fn put(&mut self, row: usize) {
        self.words[row / 64] |= 1 << (row % 64);
    }

    fn contains(&self, row: usize) -> bool {
        self.words[row / 64] & 1 << (row % 64) != 0
    }

    fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// The rows of one model. Each lease raises its row's epoch, so what is late from an earlier one is recognised.
pub struct Rows {
    free: RowBits,
    epochs: Box<[NonZeroU32]>,
    bounds: Bounds,
    ingress: IngressTx,
    lost: CancellationToken,
}

impl Rows {
    pub(super) fn new(bounds: Bounds, ingress: IngressTx) -> Self {
        Self {
            free: RowBits::full(bounds.rows),
            epochs: vec![NonZeroU32::MIN; bounds.rows].into(),
            bounds,
            ingress,
            lost: CancellationToken::new(),
        }
    }

    /// Leases the lowest free row.
    pub fn lease(&mut self) -> Option<RowLease> {
        let row = self.free.take_lowest()?;
        let key = RowKey {
            // invariant: a model has at most 2^16 rows (checked with the configuration).
            row: RowId(u16::try_from(row).ok()?),
            epoch: self.epochs[row],
        };
        Some(RowLease {
            key,
            credits: Arc::new(Credits::new(self.bounds.credits)),
            largest_charge: self.bounds.largest_charge(),
            ingress: self.ingress.clone(),
            lost: self.lost.child_token(),
        })
    }

    /// Takes back the row of a lease whose Detach has passed all stages. False for a lease that is over already.
    pub fn give_back(&mut self, key: RowKey) -> bool {
        let row = key.row.index();
        if self.epochs[row] != key.epoch || self.free.contains(row) {
            return false;
        }
        self.epochs[row] = key.epoch.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.free.put(row);
        true
    }

    /// Gives the rows up because the pipeline behind them failed: every lease hears of it.
    pub fn lose(self) {
        self.lost.cancel();
    }

    /// Total rows.
    #[must_use]
    pub fn total(&self) -> usize {
        self.epochs.len()
    }

    /// Messages under way to the decoders.
    #[must_use]
    pub fn ingress_depth(&self) -> usize {
        self.ingress.depth()
    }

    /// Rows in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.total() - self.free.len()
    }
}

/// The right to use one row. Not `Clone`: whoever has it is the only one, and dropping it frees the row.
///
/// The async side meets the threads here: everything a session says to the pipeline goes through its lease, and
/// nothing here waits.
pub struct RowLease {
    key: RowKey,
    credits: Arc<Credits>,
    largest_charge: u32,
    ingress: IngressTx,
    /// The lease's own child, so that sessions do not meet at one lock while they wait.
    lost: CancellationToken,
}

impl RowLease {
    /// The row and the epoch of this lease.
    #[must_use]
    pub fn key(&self) -> RowKey {
        self.key
    }

    /// What the session may send: see [`Credits`].
    #[must_use]
    pub fn credits(&self) -> &Arc<Credits> {
        &self.credits
    }

    /// Resolves when the pipeline behind the row has failed. Safe to cancel.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Most credits one message may take.
    #[must_use]
    pub fn largest_charge(&self) -> u32 {
        self.largest_charge
    }

    /// Starts the stream: the row is reset, what happens in it goes to `outbox`. `speaker` is for models that speak.
    ///
    /// # Errors
    /// The pipeline has ended.
    pub fn attach(&self, outbox: OutboxTx, speaker: Speaker) -> Result<(), LinkError> {
        let attach = Box::new(Attach {
            credits: Arc::clone(&self.credits),
            outbox,
            speaker,
        });
        self.ingress.send(
            self.key,
            Ingress::Attach {
                key: self.key,
                attach,
            },
        )
    }

    /// Sends audio for which `charge` credits were taken.
    ///
    /// # Errors
    /// The pipeline has ended.
    pub fn audio(&self, audio: AudioBytes, charge: u32) -> Result<(), LinkError> {
        let key = self.key;
        self.ingress.send(key, Ingress::Audio { key, charge, audio })
    }

    /// Sends a word or a pause for which [`MIN_CHARGE`] credits were taken.
    ///
    /// # Errors
    /// The pipeline has ended.
    pub fn text(&self, piece: Piece) -> Result<(), LinkError> {
        let key = self.key;
        self.ingress.send(key, Ingress::Text { key, piece })
    }

    /// Sends a voice for which [`MIN_CHARGE`] credits were taken.
    ///
    /// # Errors
    /// The pipeline has ended.
    pub fn voice(&self, voice: Arc<Voice>) -> Result<(), LinkError> {
        let key = self.key;
        self.ingress.send(key, Ingress::Voice { key, voice })
    }

    /// Sends a control message for which [`MIN_CHARGE`] credits were taken.
    ///
    /// # Errors
    /// The pipeline has ended.
    pub fn control(&self, control: Control) -> Result<(), LinkError> {
        let key = self.key;
        self.ingress.send(key, Ingress::Control { key, control })
    }

    /// What a message with `samples` of audio is charged.
    #[must_use]
    pub fn charge(samples: u32) -> u32 {
        samples.max(MIN_CHARGE)
    }
}

impl Drop for RowLease {
    fn drop(&mut self) {
        // If the pipeline is gone there is no row to free.
        let _ = self.ingress.send(self.key, Ingress::Detach { key: self.key });
    }
}

#[cfg(test)]
mod tests {
    use super::super::links;
    use super::*;

    fn rows(n: usize) -> (Rows, Vec<links::IngressRx>) {
        let bounds = Bounds::new(n, 15);
        let (tx, rx) = links::ingress(bounds, 1);
        (Rows::new(bounds, tx), rx)
    }

    #[test]
    fn the_lowest_free_row_is_leased_and_epochs_grow() {
        let (mut rows, _rx) = rows(70);
        let leases: Vec<_> = (0..70).map(|_| rows.lease().unwrap()).collect();
        assert!(rows.lease().is_none());
        assert!(leases.iter().enumerate().all(|(i, l)| l.key().row.index() == i));
        assert!(rows.give_back(leases[66].key()) && rows.give_back(leases[3].key()));
        let again = rows.lease().unwrap().key();
        assert_eq!((again.row, again.epoch.get()), (RowId(3), 2));
        assert_eq!(rows.used(), 69);
    }

    #[test]
    fn a_row_is_given_back_once_and_only_by_its_lease() {
        let (mut rows, _rx) = rows(1);
        let first = rows.lease().unwrap().key();
        assert!(rows.give_back(first) && !rows.give_back(first));
        let second = rows.lease().unwrap().key();
        assert!(!rows.give_back(first));
        assert!(rows.give_back(second));
    }

    #[tokio::test]
    async fn every_lease_hears_that_its_rows_are_lost() {
        let ((mut lost, _rx), (mut whole, _other)) = (rows(2), rows(1));
        let (one, two) = (lost.lease().unwrap(), lost.lease().unwrap());
        let other = whole.lease().unwrap();
        lost.lose();
        one.lost().await;
        two.lost().await;
        assert!(!other.lost.is_cancelled());
    }

    #[test]
    fn dropping_a_lease_sends_detach() {
        let (mut rows, rx) = rows(1);
        let key = rows.lease().map(|lease| lease.key()).unwrap();
        assert!(matches!(rx[0].recv(), Some(Ingress::Detach { key: k }) if k == key));
    }
}
