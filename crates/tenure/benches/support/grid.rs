//! Medians, figures and tables.

/// What ran this.
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("processor unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores of {}", model.trim_start_matches([' ', '\t', ':']))
}

/// Prints a table: aligned, or as Markdown.
pub fn print<const N: usize>(markdown: bool, head: &[String; N], rows: &[[String; N]]) {
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
pub fn figure(rate: f64) -> String {
    match rate {
        rate if rate >= 10e6 => format!("{:.1} M", rate / 1e6),
        rate if rate >= 1e6 => format!("{:.2} M", rate / 1e6),
        rate if rate >= 10e3 => format!("{:.0} k", rate / 1e3),
        rate => format!("{rate:.0}"),
    }
}

/// Whether a bar is met.
pub fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
