//! How many commands clients have sent to a server.
//!
//! `INFO` cannot tell: its `total_commands_processed` and `commandstats` count the commands of scripts too (one `EVAL` of ten
//! `SET` raises the total by eleven, Redis 7.0). `MONITOR` shows each command with who sent it, those of scripts as
//! `lua`, so lines of others are counted. A transaction of n commands is n + 2 lines, a command that blocks is one. It slows
//! the server down: rates are measured without it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;

/// The last command that is listened to.
const LAST: &str = "the-last-command-of-this-count";

/// A count that runs.
#[derive(Debug)]
pub struct Monitor {
    server: SocketAddr,
    listening: JoinHandle<u64>,
}

impl Monitor {
    /// Counts from now on.
    pub fn start(server: SocketAddr) -> Monitor {
        let mut stream = TcpStream::connect(server).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "+OK");
        let listening = std::thread::spawn(move || {
            let lines = lines.map_while(Result::ok).take_while(|line| !line.contains(LAST));
            lines.filter(|line| !is_of_a_script(line)).count() as u64
        });
        Monitor { server, listening }
    }

    /// Ends the count.
    pub fn stop(self) -> u64 {
        let mut stream = TcpStream::connect(self.server).unwrap();
        stream.write_all(format!("ECHO {LAST}\r\n").as_bytes()).unwrap();
        self.listening.join().unwrap()
    }
}

/// Whether a line is like `+1795253118.921068 [0 lua] "set" "a" "1"`.
fn is_of_a_script(line: &str) -> bool {
    line.split(' ').nth(2) == Some("lua]")
}
