//! One device's path in buckets of event time: the last point of each bucket.
//!
//! All devices share the grid, so a chart can draw them over one column of times, and a device costs the
//! same whether it sends once a second or ten thousand times. A later revision of a step, or a step that
//! comes out of order, takes its own place. Bounded by its limit, whatever is sent.

use std::collections::VecDeque;

/// The last point of one bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cell {
    bucket: i64,
    time: i64,
    index: u64,
    value: f64,
}

#[derive(Debug, Default)]
pub struct Series {
    cells: VecDeque<Cell>,
}

impl Series {
    /// Puts a point where it belongs. Returns whether the picture changes by it.
    ///
    /// Of points with the same (time, index) the last one counts: it is a revision. `span` buckets around
    /// this point are kept, at most `limit` of them.
    pub fn insert(
        &mut self,
        bucket: i64,
        time: i64,
        index: u64,
        value: f64,
        span: i64,
        limit: usize,
    ) -> bool {
        while self
            .cells
            .front()
            .is_some_and(|cell| cell.bucket < bucket - span)
        {
            self.cells.pop_front();
        }
        // What lies a whole window ahead is from before the event times went back.
        while self
            .cells
            .back()
            .is_some_and(|cell| cell.bucket > bucket + span)
        {
            self.cells.pop_back();
        }
        let cell = Cell {
            bucket,
            time,
            index,
            value,
        };
        let after = self
            .cells
            .iter()
            .rev()
            .take_while(|other| other.bucket > bucket)
            .count();
        let place = self.cells.len() - after;
        match place.checked_sub(1).map(|last| &mut self.cells[last]) {
            Some(last) if last.bucket == bucket => {
                if (time, index) < (last.time, last.index) || *last == cell {
                    return false;
                }
                *last = cell;
            }
            _ => self.cells.insert(place, cell),
        }
        while self.cells.len() > limit {
            self.cells.pop_front();
        }
        true
    }

    pub fn get(&self, bucket: i64) -> Option<f64> {
        let at = self
            .cells
            .binary_search_by_key(&bucket, |cell| cell.bucket)
            .ok()?;
        Some(self.cells[at].value)
    }

    /// Buckets and values from `first` on, in order.
    pub fn points(&self, first: i64) -> impl Iterator<Item = (i64, f64)> {
        let from = self.cells.partition_point(|cell| cell.bucket < first);
        self.cells
            .range(from..)
            .map(|cell| (cell.bucket, cell.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(series: &Series) -> Vec<(i64, f64)> {
        series.points(i64::MIN).collect()
    }

    #[test]
    fn steps_out_of_order_take_their_place() {
        let mut series = Series::default();
        for bucket in [3, 1, 2, 5, 4] {
            assert!(series.insert(bucket, bucket * 10, 0, bucket as f64, 100, 100));
        }
        assert_eq!(
            points(&series),
            [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 5.0)]
        );
    }

    #[test]
    fn revision_replaces_its_point_and_nothing_else() {
        let mut series = Series::default();
        series.insert(1, 10, 7, 1.0, 100, 100);
        series.insert(2, 20, 8, 2.0, 100, 100);
        assert!(series.insert(1, 10, 7, 1.5, 100, 100));
        assert!(
            !series.insert(1, 10, 7, 1.5, 100, 100),
            "the same once more changes nothing"
        );
        assert_eq!(points(&series), [(1, 1.5), (2, 2.0)]);
    }

    #[test]
    fn last_point_of_a_bucket_counts_whatever_the_order_of_arrival() {
        let mut series = Series::default();
        assert!(series.insert(1, 12, 2, 2.0, 100, 100));
        assert!(!series.insert(1, 11, 1, 1.0, 100, 100));
        assert!(series.insert(1, 12, 3, 3.0, 100, 100));
        assert_eq!(points(&series), [(1, 3.0)]);
        assert_eq!(series.get(1), Some(3.0));
        assert_eq!(series.get(2), None);
    }

    #[test]
    fn series_keeps_its_window_and_its_limit() {
        let mut series = Series::default();
        for bucket in 0..1_000 {
            series.insert(bucket, bucket, 0, 0.0, 100, 10_000);
        }
        assert_eq!(series.points(0).count(), 101);
        series.insert(1_000, 1_000, 0, 0.0, 100, 10);
        assert_eq!(points(&series).first(), Some(&(991, 0.0)));
        series.insert(5, 5, 0, 0.0, 100, 10);
        assert_eq!(
            points(&series),
            [(5, 0.0)],
            "event times that went back begin anew"
        );
    }
}
