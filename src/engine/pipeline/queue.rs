//! Records that wait for their turn to be written. Pure: cuts batches, and sends nothing.

use std::collections::VecDeque;

use crate::engine::batch::{Bound, first};
use crate::model::Record;

/// Records that wait for their turn, each with its bytes as encoded.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) records: VecDeque<(Record, usize)>,
    pub(super) bytes: usize,
}

impl Queue {
    pub(super) fn push(&mut self, record: Record, bytes: usize) {
        self.bytes += bytes;
        self.records.push_back((record, bytes));
    }

    /// Whether the first batch would not grow by another record.
    pub(super) fn has_whole(&self, bound: Bound) -> bool {
        self.records.len() >= bound.records || self.bytes >= bound.bytes
    }

    pub(super) fn has_two(&self, bound: Bound) -> bool {
        self.records.len() / 2 >= bound.records || self.bytes / 2 >= bound.bytes
    }

    pub(super) fn first(&self, bound: Bound) -> usize {
        first(self.records.iter().map(|(_, bytes)| *bytes), bound)
    }

    pub(super) fn bytes_of_first(&self, bound: Bound) -> usize {
        self.records.iter().take(self.first(bound)).map(|(_, bytes)| bytes).sum()
    }

    /// Puts records before all others.
    pub(super) fn put_back(&mut self, records: Vec<Record>, size: impl Fn(&Record) -> usize) {
        for record in records.into_iter().rev() {
            let bytes = size(&record);
            self.bytes += bytes;
            self.records.push_front((record, bytes));
        }
    }

    pub(super) fn take(&mut self, bound: Bound) -> (Vec<Record>, usize) {
        let bytes = self.bytes_of_first(bound);
        let batch = self.records.drain(..self.first(bound)).map(|(record, _)| record).collect();
        self.bytes -= bytes;
        (batch, bytes)
    }
}
