//! The table of rates, with ratios to each contender.

use std::fmt;

use crate::drive::Flavour;
use crate::grid::{self, figure, machine, median, verdict};

/// A job in a flavour: the rates of all contenders, round by round.
#[derive(Debug)]
pub struct Row {
    title: &'static str,
    flavour: Flavour,
    bar: Option<f64>,
    rounds: Vec<[f64; 3]>,
}

impl Row {
    pub fn new(title: &'static str, flavour: Flavour, bar: Option<f64>) -> Row {
        Row { title, flavour, bar, rounds: Vec::new() }
    }

    pub fn add(&mut self, rates: [f64; 3]) {
        self.rounds.push(rates);
    }

    fn rate(&self, who: usize) -> f64 {
        median(self.rounds.iter().map(|rates| rates[who]))
    }

    /// The median of the ratios of single rounds: what slows a whole round down does not count.
    fn ratio(&self, to: usize) -> f64 {
        median(self.rounds.iter().map(|rates| rates[0] / rates[to]))
    }

    fn bar(&self) -> String {
        match self.bar {
            Some(bar) => format!("≥ {bar}×: {}", verdict(self.ratio(1) >= bar)),
            None => String::new(),
        }
    }

    fn cells(&self) -> [String; 8] {
        [
            self.title.to_owned(),
            self.flavour.to_string(),
            figure(self.rate(0)),
            figure(self.rate(1)),
            figure(self.rate(2)),
            format!("{:.2}×", self.ratio(1)),
            format!("{:.2}×", self.ratio(2)),
            self.bar(),
        ]
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cells().join(" | "))
    }
}

/// All rows, and who contended.
#[derive(Debug)]
pub struct Table {
    who: [&'static str; 3],
    pub rows: Vec<Row>,
    /// The cores that were free before each of the rows.
    pub cores: Vec<f64>,
}

impl Table {
    pub fn new(who: [&'static str; 3]) -> Table {
        Table { who, rows: Vec::new(), cores: Vec::new() }
    }

    pub fn print(&self, markdown: bool) {
        let least = self.cores.iter().copied().fold(f64::INFINITY, f64::min);
        let cores = median(self.cores.iter().copied());
        println!("{}. Two busy threads got {cores:.2} of them (median; least {least:.2}).\n", machine());
        let [ours, first, second] = self.who.map(str::to_owned);
        let (to_first, to_second) = (format!("to {first}"), format!("to {second}"));
        let head = [
            "operations a second".into(),
            "runtime".into(),
            ours,
            first,
            second,
            to_first,
            to_second,
            "bar".into(),
        ];
        grid::print(markdown, &head, &self.rows.iter().map(Row::cells).collect::<Vec<_>>());
    }
}
