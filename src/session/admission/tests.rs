use std::time::Duration;

use super::*;
use crate::pipeline::links::IngressRx;
use crate::pipeline::messages::Ingress;
use crate::pipeline::{PipelineOptions, wire_for_test};

const OPTIONS: PipelineOptions = PipelineOptions {
    frames_ahead: 2,
    coalesce: Duration::ZERO,
    shards: 1,
};

fn admission(rows: usize, queue_len: usize) -> (Arc<Admission>, IngressRx) {
    let (rows, mut input) = wire_for_test(rows, OPTIONS);
    (Arc::new(Admission::new([rows], queue_len)), input.remove(0))
}

/// Admission to devices of 2 and of 4 rows.
fn two_devices(queue_len: usize) -> (Arc<Admission>, [Vec<IngressRx>; 2]) {
    let ((small, a), (large, b)) = (wire_for_test(2, OPTIONS), wire_for_test(4, OPTIONS));
    (Arc::new(Admission::new([small, large], queue_len)), [a, b])
}

fn pump(admission: &Admission, input: &IngressRx) {
    if let Some(Ingress::Detach { key }) = input.recv() {
        admission.row_free(0, key);
    }
}

async fn lease(ticket: &mut QueuePlace) -> Option<RowLease> {
    loop {
        match ticket.turn().await {
            Turn::Lease(lease) => return Some(lease),
            Turn::Position(_) => {}
            Turn::Over => return None,
        }
    }
}

async fn position(ticket: &mut QueuePlace) -> Option<u32> {
    match ticket.turn().await {
        Turn::Position(position) => Some(position),
        Turn::Lease(_) | Turn::Over => None,
    }
}

#[tokio::test]
async fn rows_go_to_who_waits_longest_and_positions_move_up() {
    let (admission, input) = admission(1, 2);
    let mut first = admission.request(true).unwrap();
    let held = lease(&mut first).await.unwrap();
    let (mut second, mut third) = (admission.request(true).unwrap(), admission.request(true).unwrap());
    assert_eq!(
        (position(&mut second).await, position(&mut third).await),
        (Some(1), Some(2))
    );
    assert_eq!(admission.request(true).err(), Some(Refused::Full));
    drop(held);
    pump(&admission, &input);
    let held = lease(&mut second).await.unwrap();
    assert_eq!(position(&mut third).await, Some(1));
    assert_eq!((admission.used(), admission.waiting()), (1, 1));
    drop((held, second));
    pump(&admission, &input);
    assert!(lease(&mut third).await.is_some());
}

#[tokio::test]
async fn who_leaves_the_queue_makes_room() {
    let (admission, _input) = admission(1, 1);
    let mut first = admission.request(true).unwrap();
    let _held = lease(&mut first).await.unwrap();
    let second = admission.request(true).unwrap();
    assert!(admission.request(true).is_err());
    drop(second);
    let mut third = admission.request(true).unwrap();
    assert_eq!(position(&mut third).await, Some(1));
}

#[tokio::test]
async fn a_lease_nobody_came_for_is_given_back() {
    let (admission, input) = admission(1, 1);
    drop(admission.request(true).unwrap());
    pump(&admission, &input);
    assert_eq!(admission.used(), 0);
}

#[tokio::test]
async fn draining_lets_nobody_in_and_tells_who_waits() {
    let (admission, _input) = admission(1, 1);
    let mut first = admission.request(true).unwrap();
    let _held = lease(&mut first).await.unwrap();
    let mut second = admission.request(true).unwrap();
    admission.drain();
    assert!(lease(&mut second).await.is_none());
    assert_eq!(admission.request(true).err(), Some(Refused::Stopping));
}

/// Rows in use on each device.
fn loads(admission: &Admission) -> Vec<usize> {
    let inner = admission.inner.lock();
    inner
        .devices
        .iter()
        .map(|device| device.as_ref().map_or(0, Rows::used))
        .collect()
}

#[tokio::test]
async fn sessions_go_to_the_device_with_the_smallest_share_in_use() {
    let (admission, _inputs) = two_devices(0);
    let mut held = Vec::new();
    let mut seen = Vec::new();
    while let Ok(mut ticket) = admission.request(true) {
        held.push(lease(&mut ticket).await.unwrap());
        seen.push(loads(&admission));
    }
    let expected = [[1, 0], [1, 1], [1, 2], [2, 2], [2, 3], [2, 4]];
    assert_eq!(seen, expected);
    assert_eq!((admission.used(), admission.total()), (6, 6));
}

#[tokio::test]
async fn a_row_of_any_device_goes_to_the_first_waiter() {
    let (admission, _inputs) = two_devices(1);
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(lease(&mut admission.request(true).unwrap()).await.unwrap());
    }
    let mut waiting = admission.request(true).unwrap();
    assert_eq!(position(&mut waiting).await, Some(1));
    // The third lease was on the second lane.
    let key = held.remove(2).key();
    admission.row_free(1, key);
    assert_eq!(lease(&mut waiting).await.unwrap().key().row, key.row);
}

#[tokio::test]
async fn a_lost_lane_ends_its_leases_alone_and_gets_no_more() {
    let (admission, _inputs) = two_devices(0);
    let on_small = lease(&mut admission.request(true).unwrap()).await.unwrap();
    let on_large = lease(&mut admission.request(true).unwrap()).await.unwrap();
    assert_eq!(admission.lose(0), 1);
    on_small.lost().await;
    let still = tokio::time::timeout(Duration::ZERO, on_large.lost()).await;
    assert!(still.is_err());
    // Late word of a lease that is lost.
    admission.row_free(0, on_small.key());
    assert_eq!((admission.used(), admission.total()), (1, 4));
    let mut held = Vec::new();
    while let Ok(mut ticket) = admission.request(true) {
        held.push(lease(&mut ticket).await.unwrap());
    }
    assert_eq!((held.len(), loads(&admission)), (3, vec![0, 4]));
    assert_eq!(admission.lose(1), 0);
}
