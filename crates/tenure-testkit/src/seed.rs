//! The seed of a random test.

use rand::Rng;

/// The seed of this run: `TENURE_SEED` where it is set, to repeat a run, else a random one. Printed, so that a
/// failure shows it.
pub fn seed() -> u64 {
    let fixed = std::env::var("TENURE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = fixed.unwrap_or_else(|| rand::rng().random());
    println!("TENURE_SEED={seed}");
    seed
}
