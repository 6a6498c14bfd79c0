//! The Redis protocol (RESP3), as far as this provider speaks it: commands out, replies in.
//!
//! Replies are read as they come, however they are cut: what is not whole yet stays in the buffer, and a list that is
//! not whole yet stays on a stack, so that a long one is looked at once.

use std::borrow::Cow;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest text that a reply may have: far above any record of ours.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// The longest list, and how deep lists may lie in each other.
const MOST_ITEMS: usize = 4 * 1024 * 1024;
const MOST_DEPTH: usize = 8;

/// The longest line: a number, a status or an error.
const MOST_LINE: usize = 64 * 1024;

/// What the server answers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    Nil,
    Int(i64),
    Text(Bytes),
    List(Vec<Reply>),
    /// An error, with its code as the first word.
    Error(String),
    /// What was sent without being asked for.
    Push(Vec<Reply>),
}

impl Reply {
    pub(super) fn int(&self) -> Option<i64> {
        match self {
            Reply::Int(number) => Some(*number),
            Reply::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&[u8]> {
        match self {
            Reply::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Reply]> {
        match self {
            Reply::List(items) => Some(items),
            _ => None,
        }
    }
}

/// That the bytes are not the protocol's: the connection is of no more use.
#[derive(Debug, thiserror::Error)]
#[error("the server did not speak the protocol: {0}")]
pub(super) struct Garbled(Cow<'static, str>);

/// The arguments of a command, encoded as they come.
#[derive(Debug, Default)]
pub(super) struct Args {
    bytes: BytesMut,
    count: usize,
}

impl Args {
    pub(super) fn of<A: AsRef<[u8]>>(args: impl IntoIterator<Item = A>) -> Self {
        let mut all = Args::default();
        for arg in args {
            all.push(arg.as_ref());
        }
        all
    }

    pub(super) fn push(&mut self, arg: &[u8]) {
        self.push_parts(&[arg]);
    }

    /// One argument out of several parts.
    pub(super) fn push_parts(&mut self, parts: &[&[u8]]) {
        self.count += 1;
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.bytes.reserve(length + 24);
        self.bytes.put_u8(b'$');
        self.bytes.put_slice(digits(&mut [0; 20], length as u64));
        self.bytes.put_slice(b"\r\n");
        parts.iter().for_each(|part| self.bytes.put_slice(part));
        self.bytes.put_slice(b"\r\n");
    }

    pub(super) fn number(&mut self, number: u64) {
        let mut text = [0; 20];
        self.push(digits(&mut text, number));
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    /// Writes them as one command, behind `first`.
    pub(super) fn write(&self, out: &mut BytesMut, first: &[&[u8]]) {
        Args::write_all(out, first, &[self]);
    }

    /// Writes several lists of arguments as one command, behind `first`.
    pub(super) fn write_all(out: &mut BytesMut, first: &[&[u8]], rest: &[&Args]) {
        out.put_u8(b'*');
        let count = first.len() + rest.iter().map(|args| args.count).sum::<usize>();
        out.put_slice(digits(&mut [0; 20], count as u64));
        out.put_slice(b"\r\n");
        let mut head = Args { bytes: std::mem::take(out), count: 0 };
        first.iter().for_each(|arg| head.push(arg));
        *out = head.bytes;
        rest.iter().for_each(|args| out.extend_from_slice(&args.bytes));
    }
}

/// A number in decimal digits, written at the end of `text`.
fn digits(text: &mut [u8; 20], number: u64) -> &[u8] {
    let (mut at, mut left) = (text.len(), number);
    loop {
        at -= 1;
        if let Some(digit) = text.get_mut(at) {
            *digit = b'0' + (left % 10) as u8;
        }
        left /= 10;
        if left == 0 {
            break;
        }
    }
    text.get(at..).unwrap_or_default()
}

/// Reads replies out of what has come.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    stack: Vec<Partial>,
}

/// A list whose items have not all come.
#[derive(Debug)]
struct Partial {
    is_push: bool,
    left: usize,
    items: Vec<Reply>,
}

impl Decoder {
    /// The next whole reply; `None` when more has to come.
    ///
    /// # Errors
    /// [`Garbled`].
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Reply>, Garbled> {
        loop {
            let Some(item) = self.item(buffer)? else { return Ok(None) };
            if let Some(reply) = item.and_then(|item| self.fold(item)) {
                return Ok(Some(reply));
            }
        }
    }

    /// Puts a whole item where it belongs; a reply that is whole with it.
    fn fold(&mut self, mut item: Reply) -> Option<Reply> {
        while let Some(top) = self.stack.last_mut() {
            top.items.push(item);
            top.left -= 1;
            if top.left > 0 {
                return None;
            }
            let whole = self.stack.pop()?;
            item = if whole.is_push { Reply::Push(whole.items) } else { Reply::List(whole.items) };
        }
        Some(item)
    }

    /// Reads one item. `Some(None)`: a list has begun, which is on the stack now.
    #[allow(
        clippy::option_option,
        reason = "whether anything was read, and whether that is an item by itself"
    )]
    fn item(&mut self, buffer: &mut BytesMut) -> Result<Option<Option<Reply>>, Garbled> {
        let Some(end) = line_end(buffer)? else { return Ok(None) };
        let line = buffer.get(..end).unwrap_or_default();
        let (Some(kind), rest) = (line.first().copied(), line.get(1..).unwrap_or_default()) else {
            return Err(Garbled("an empty line".into()));
        };
        let text = || String::from_utf8_lossy(rest).into_owned();
        let reply = match kind {
            b'$' | b'=' | b'!' => return self.bulk(buffer, end, kind),
            // The most frequent, of which there is one a command.
            b'+' if rest == b"OK" => Reply::Text(Bytes::from_static(b"OK")),
            b'+' if rest == b"QUEUED" => Reply::Text(Bytes::from_static(b"QUEUED")),
            b'+' | b',' | b'(' => Reply::Text(Bytes::copy_from_slice(rest)),
            b'-' => Reply::Error(text()),
            b':' => Reply::Int(number(rest)?),
            b'#' => Reply::Int(i64::from(rest == b"t")),
            b'_' => Reply::Nil,
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let each = if matches!(kind, b'%' | b'|') { 2 } else { 1 };
                let count = number(rest)?;
                buffer.advance(end + 2);
                return self.begin(kind == b'>', count.saturating_mul(each)).map(Some);
            }
            other => return Err(Garbled(format!("an item of kind {other:?}").into())),
        };
        buffer.advance(end + 2);
        Ok(Some(Some(reply)))
    }

    fn bulk(
        &mut self,
        buffer: &mut BytesMut,
        end: usize,
        kind: u8,
    ) -> Result<Option<Option<Reply>>, Garbled> {
        let length = number(buffer.get(1..end).unwrap_or_default())?;
        let Ok(length) = usize::try_from(length) else {
            buffer.advance(end + 2);
            return Ok(Some(Some(Reply::Nil)));
        };
        if length > MOST_BYTES {
            return Err(Garbled(format!("a text of {length} bytes").into()));
        }
        if buffer.len() < end + 2 + length + 2 {
            buffer.reserve(length + 2);
            return Ok(None);
        }
        buffer.advance(end + 2);
        let text = buffer.split_to(length).freeze();
        buffer.advance(2);
        let reply = if kind == b'!' {
            Reply::Error(String::from_utf8_lossy(&text).into_owned())
        } else {
            Reply::Text(text)
        };
        Ok(Some(Some(reply)))
    }

    fn begin(&mut self, is_push: bool, count: i64) -> Result<Option<Reply>, Garbled> {
        let Ok(left) = usize::try_from(count) else { return Ok(Some(Reply::Nil)) };
        if left > MOST_ITEMS || self.stack.len() >= MOST_DEPTH {
            return Err(Garbled(format!("a list of {left} in {} others", self.stack.len()).into()));
        }
        if left == 0 {
            return Ok(Some(if is_push { Reply::Push(Vec::new()) } else { Reply::List(Vec::new()) }));
        }
        self.stack.push(Partial { is_push, left, items: Vec::with_capacity(left.min(1_024)) });
        Ok(None)
    }
}

fn line_end(buffer: &BytesMut) -> Result<Option<usize>, Garbled> {
    let end = buffer.windows(2).take(MOST_LINE).position(|pair| pair == b"\r\n");
    if end.is_none() && buffer.len() > MOST_LINE {
        return Err(Garbled("a line without an end".into()));
    }
    Ok(end)
}

fn number(text: &[u8]) -> Result<i64, Garbled> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Garbled("something else than a number".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_come_out_whole_however_they_are_cut() {
        let wire = b"+OK\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n_\r\n*2\r\n*0\r\n%1\r\n+k\r\n:1\r\n-ERR no\r\n>2\r\n$1\r\nm\r\n#t\r\n*-1\r\n";
        let text = |text: &'static str| Reply::Text(Bytes::from_static(text.as_bytes()));
        let map = Reply::List(vec![text("k"), Reply::Int(1)]);
        let expected = [
            text("OK"),
            Reply::Int(-7),
            text("a\r\n"),
            Reply::Nil,
            Reply::Nil,
            Reply::List(vec![Reply::List(vec![]), map]),
            Reply::Error("ERR no".into()),
            Reply::Push(vec![text("m"), Reply::Int(1)]),
            Reply::Nil,
        ];
        let wire = wire.strip_suffix(b"\n").map(|_| &wire[..]).unwrap();
        for size in 1..wire.len() {
            let (mut decoder, mut buffer, mut found) = (Decoder::default(), BytesMut::new(), Vec::new());
            for piece in wire.chunks(size) {
                buffer.extend_from_slice(piece);
                while let Some(reply) = decoder.next(&mut buffer).unwrap() {
                    found.push(reply);
                }
            }
            assert_eq!(found, expected, "{size}");
        }
    }

    #[test]
    fn what_is_not_the_protocol_is_an_error() {
        let long = [b"+".as_slice(), &vec![b'x'; MOST_LINE + 1]].concat();
        let deep = b"*1\r\n".repeat(MOST_DEPTH + 1);
        let bad: [&[u8]; 6] = [b"x\r\n", b"\r\n", b":x\r\n", b"$99999999999\r\n", &long, &deep];
        for wire in bad {
            assert!(Decoder::default().next(&mut BytesMut::from(wire)).is_err());
        }
    }

    #[test]
    fn a_command_is_a_list_of_texts() {
        let mut args = Args::of(["a", ""]);
        args.number(1_234_567_890);
        let mut out = BytesMut::from("before");
        args.write(&mut out, &[b"PING"]);
        assert_eq!(&out[..], b"before*4\r\n$4\r\nPING\r\n$1\r\na\r\n$0\r\n\r\n$10\r\n1234567890\r\n");
    }
}
