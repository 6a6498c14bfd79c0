//! Medians, ratios and tables.

use std::fmt;

use crate::drive::Flavour;

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
            Some(bar) => format!("≥ {bar}×: {}", if self.ratio(1) >= bar { "met" } else { "MISSED" }),
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
        grid(markdown, &head, &self.rows.iter().map(Row::cells).collect::<Vec<_>>());
    }
}

/// What ran this.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("processor unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores of {}", model.trim_start_matches([' ', '\t', ':']))
}

/// Prints a table: aligned, or as Markdown.
pub fn grid<const N: usize>(markdown: bool, head: &[String; N], rows: &[[String; N]]) {
    let width = |column: usize| {
        let cells = rows.iter().chain([head]).map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let cells: Vec<String> = cells.collect();
        if markdown { format!("| {} |", cells.join(" | ")) } else { cells.join("  ").trim_end().to_owned() }
    };
    println!("{}", line(head));
    if markdown {
        println!("|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"));
    }
    for row in rows {
        println!("{}", line(row));
    }
    println!();
}

/// The middle one.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A rate with three significant digits.
fn figure(rate: f64) -> String {
    match rate {
        rate if rate >= 10e6 => format!("{:.1} M", rate / 1e6),
        rate if rate >= 1e6 => format!("{:.2} M", rate / 1e6),
        rate if rate >= 10e3 => format!("{:.0} k", rate / 1e3),
        rate => format!("{rate:.0}"),
    }
}
