//! Random numbers, as good as a bench needs and as quick.

/// A xorshift generator.
pub struct Random(u64);

impl Random {
    pub fn of(worker: usize) -> Random {
        Random(0x9e37_79b9_7f4a_7c15 ^ ((worker as u64 + 1) << 17))
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
