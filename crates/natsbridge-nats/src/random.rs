//! A small generator of random numbers, for reconnect jitter and seeded faults.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// `SplitMix64`: a counter passed through a mixing function; the same seed gives the same numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Seeded by the operating system, through the keys of the standard library's hash maps.
    pub(crate) fn from_system() -> Self {
        Self(RandomState::new().hash_one(0_u8))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound - 1`; 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Whether something of this probability (0 to 1) happens now.
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        let unit = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        f64::from(unit) / (f64::from(u32::MAX) + 1.0) < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_repeat_their_numbers() {
        let (mut one, mut other) = (Random::seeded(7), Random::seeded(7));
        assert!((0..100).all(|_| one.next() == other.next()));
    }

    #[test]
    fn probabilities_hold_roughly() {
        let mut random = Random::seeded(1);
        let hits = (0..10_000).filter(|_| random.happens(0.1)).count();
        assert!((800..1_200).contains(&hits), "{hits}");
        assert!(!random.happens(0.0) && random.happens(1.0));
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut random = Random::from_system();
        assert!((0..1_000).all(|_| random.below(3) < 3));
        assert_eq!(random.below(0), 0);
    }
}
