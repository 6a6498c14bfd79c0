//! Text for people: what others wrote is shown without doing anything to the terminal.

use std::fmt::Write as _;
use std::time::Duration;

/// `text` with everything escaped that a terminal might act upon or that hides or reorders what stands beside it.
pub(crate) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || reorders_or_hides(c) {
            let _ = write!(clean, "{}", c.escape_unicode());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// Line and paragraph separators, marks of direction, and what has no width.
fn reorders_or_hides(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A span to two digits or so: `870ms`, `12s`, `3m 5s`, `2h 10m`.
pub(crate) fn span(span: Duration) -> String {
    let secs = span.as_secs();
    match secs {
        0 => format!("{}ms", span.as_millis()),
        1..60 => format!("{secs}s"),
        60..3_600 => format!("{}m {}s", secs / 60, secs % 60),
        _ => format!("{}h {}m", secs / 3_600, secs % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_upon_comes_through() {
        assert_eq!(clean("a\x1b[31mb\r\n\u{9b}c"), "a\\u{1b}[31mb\\u{d}\\u{a}\\u{9b}c");
        assert_eq!(clean("x\u{202e}y\u{200b}z"), "x\\u{202e}y\\u{200b}z");
        assert_eq!(clean("Grüße:🔒 名"), "Grüße:🔒 名");
    }

    #[test]
    fn a_span_has_two_units_at_the_most() {
        let shown = [0, 870, 12_345, 185_000, 7_800_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(shown, ["0ms", "870ms", "12s", "3m 5s", "2h 10m"]);
    }
}
