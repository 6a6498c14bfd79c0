//! Places as H3 cells, which an ordinary index of a database can search.
//!
//! A driver's row has the cell of resolution 9, about 0.1 km². The numbers of all such cells within a coarser one lie between two
//! numbers, so a circle is a few ranges of numbers, whatever its size.

use h3o::{CellIndex, LatLng, Resolution};

use super::Place;
use crate::decimal::Degrees;

/// The resolution of the rows.
const FINEST: Resolution = Resolution::Nine;
/// How far a circle may reach in cells, before coarser ones cover it: a few dozen ranges.
const REACH: f64 = 7.0;
/// The least distance of two rings of cells around a cell, in edges of the average cell: 1.5 for regular hexagons, less since cells
/// differ in size and shape.
const RING: f64 = 1.05;
/// No corner of a cell is farther from its centre, in edges of the average cell: 1 for regular hexagons.
const CORNER: f64 = 1.5;

/// Numbers of cells: from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellRange {
    /// The first.
    pub first: i64,
    /// The last.
    pub last: i64,
}

impl CellRange {
    /// All cells that there are.
    const ALL: CellRange = CellRange { first: 0, last: i64::MAX };

    /// The cells of the finest resolution within this one.
    fn within(cell: CellIndex) -> Self {
        const RESOLUTION: u64 = 0xf << 52;
        // A digit of three bits for each resolution; those finer than the cell's are all ones.
        let digits = |digit: u64| {
            let finer = u8::from(cell.resolution()) + 1..=u8::from(FINEST);
            finer.fold(0_u64, |digits, resolution| digits | digit << (3 * (15 - u64::from(resolution))))
        };
        let number = u64::from(cell) & !RESOLUTION | u64::from(u8::from(FINEST)) << 52;
        let first = number & !digits(7);
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        CellRange { first: signed(first), last: signed(first | digits(6)) }
    }
}

/// The number of the cell of a place, for its row.
pub(crate) fn cell(lat: Degrees, lng: Degrees) -> i64 {
    let place = Place::of(lat, lng);
    let cell = place.h3().to_cell(FINEST);
    // The first bit of an index is zero.
    i64::try_from(u64::from(cell)).unwrap_or(i64::MAX)
}

/// Ranges that hold every place within `radius` km of `centre`, and some beyond.
pub(super) fn cover(centre: Place, radius: f64) -> Vec<CellRange> {
    let rings = |resolution: Resolution| {
        let edge = resolution.edge_length_km();
        ((radius + edge) / (RING * edge)).ceil() + 1.0
    };
    let fits = |resolution: &Resolution| rings(*resolution) <= REACH;
    let finest_first = (0..=u8::from(FINEST)).rev().filter_map(|number| Resolution::try_from(number).ok());
    let Some(resolution) = finest_first.into_iter().find(fits) else { return vec![CellRange::ALL] };
    let from = centre.h3();
    let reach = radius + CORNER * resolution.edge_length_km();
    let disk: Vec<CellIndex> = from.to_cell(resolution).grid_disk(rings(resolution) as u32);
    let near = |cell: &CellIndex| LatLng::from(*cell).distance_km(from) <= reach;
    disk.into_iter().filter(near).map(CellRange::within).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_circle_of_a_city_is_a_few_dozen_ranges() {
        let centre = Place { lat: 40.7128, lng: -74.006 };
        for radius in [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0] {
            let ranges = cover(centre, radius).len();
            assert!((1..=100).contains(&ranges), "{radius}: {ranges}");
        }
        assert_eq!(cover(centre, 20_000.0), [CellRange::ALL]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn every_place_within_the_radius_is_covered(
            lat in -90.0..90.0_f64,
            lng in -180.0..180.0_f64,
            size in -2.0..3.7_f64,
            (way, bearing) in (0.0..1.0_f64, 0.0..std::f64::consts::TAU),
        ) {
            let (centre, radius) = (Place { lat, lng }, 10_f64.powf(size));
            let there = centre.towards(bearing, way.sqrt() * radius);
            prop_assume!(centre.distance(there) <= radius);
            let (lat, lng) = (Degrees::of_f64(there.lat), Degrees::of_f64(there.lng));
            let number = cell(lat, lng);
            let ranges = cover(centre, radius + 1e-5);
            prop_assert!(ranges.iter().any(|range| (range.first..=range.last).contains(&number)));
        }
    }
}
