//! Numbers for tests that draw: the same for the same seed. Asks no clock and no system.

/// Numbers that look random, and are the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// From nothing up to this many milliseconds.
    pub(crate) fn millis(&mut self, most: u64) -> std::time::Duration {
        std::time::Duration::from_micros(self.below(usize::try_from(most * 1000 + 1).unwrap()) as u64)
    }
}
