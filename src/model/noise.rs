//! Noise: a pure function of (seed, device, index), so that no restart, order or clock can change it.
//!
//! With XXH64 as published (<https://xxhash.com>, the xxHash specification), and `index` as 8
//! little-endian bytes:
//!
//! ```text
//! h         = xxh64(index, seed = xxh64(device_id, seed = SEED))
//! magnitude = (h >>> 11) · 2⁻⁵³                    in [0, 1)
//! direction = if (h & 1) == 1 then +1 else −1
//! ```
//!
//! Spark SQL's `xxhash64(device_id, index)` is the same function with SEED = 42, so a Spark
//! application and `generate` agree on every reading.

use xxhash_rust::xxh64::xxh64;

/// The noise of one device.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    device_seed: u64,
}

impl Noise {
    /// The noise of `device_id` under `seed`.
    pub fn new(seed: u64, device_id: &str) -> Noise {
        Noise {
            device_seed: xxh64(device_id.as_bytes(), seed),
        }
    }

    /// Magnitude, in [0, 1), and direction, −1 or +1, of the reading `index`.
    pub fn at(self, index: i64) -> (f64, i8) {
        let hash = xxh64(&index.to_le_bytes(), self.device_seed);
        let magnitude = (hash >> 11) as f64 / (1_u64 << 53) as f64;
        (magnitude, if hash & 1 == 1 { 1 } else { -1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_equals_spark_sqls_xxhash64() {
        // The first reading of tests/vectors/readings.jsonl, and `SELECT xxhash64('Spark')` with its
        // seed of 42, from Spark's documentation of hash functions over one string.
        assert_eq!(
            Noise::new(42, "sensor-1").at(0),
            (0.185_504_346_707_196_62, -1)
        );
        assert_eq!(
            xxh64(b"", 0),
            0xef46_db37_51d8_e999,
            "the specification's empty input"
        );
    }
}
