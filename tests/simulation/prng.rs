//! A small generator of reproducible numbers: `SplitMix64` (Steele, Lea, Flood: "Fast Splittable
//! Pseudorandom Number Generators", 2014).

use std::time::Duration;

/// All chance of a simulation comes from one of these.
#[derive(Clone, Debug)]
pub struct Prng(u64);

impl Prng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.index(choices.len())]
    }

    /// Whether something happens that does in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Between `least` and `most`; each order of magnitude is equally likely.
    pub fn time(&mut self, least: Duration, most: Duration) -> Duration {
        let least = u64::try_from(least.as_micros()).unwrap().max(1);
        let most = u64::try_from(most.as_micros()).unwrap().max(least + 1);
        let doublings = u64::from((most / least).ilog2());
        let low = least << self.below(doublings + 1);
        let high = (low * 2).min(most).max(low + 1);
        Duration::from_micros(low + self.below(high - low))
    }
}
