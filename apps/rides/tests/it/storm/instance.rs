//! Rides as a process of its own, which can be killed, stopped and started again.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::stores::Ground;

/// An instance of the program `rides`. It is killed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Instance {
    process: Child,
    /// `http://127.0.0.1:port`.
    pub(crate) url: String,
}

impl Instance {
    /// Starts it, and waits until it serves. Locks are short, so that a stop outlasts them.
    pub(crate) fn start(ground: &Ground, config: &str) -> Self {
        let file = ground.dir().join(format!("{}.toml", uuid::Uuid::new_v4()));
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rides"));
        for name in [
            "TENURE_URL",
            "REDIS_URL",
            "REDIS_CONN",
            "REDIS_HOST",
            "DATABASE_URL",
            "DB_HOST",
            "PORT",
            "RUST_LOG",
        ] {
            command.env_remove(name);
        }
        command.envs(ground.environment()).arg("--listen").arg("127.0.0.1:0").arg("--data").arg(ground.dir());
        command.arg("--config").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        let url = loop {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "rides ended before it served");
            if let Some((_, url)) = line.trim().split_once("listening on ") {
                break url.to_owned();
            }
        };
        // Read on, or it would wait for its own log; shown when the test fails.
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                println!("rides: {line}");
            }
        });
        Instance { process, url }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
