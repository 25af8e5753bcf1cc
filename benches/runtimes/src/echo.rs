//! The TCP row: the program is the server, and starts the load generator as a process of its own.

use crate::measure::Clocks;
use crate::{End, Options, json};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the servers listen: a free port of the loopback device.
pub const ADDRESS: &str = "127.0.0.1:0";
/// What a server reads into: room for some messages, as a real server would have.
pub const BUFFER: usize = 4096;

/// Puts load on the server at `address` from a thread outside the runtime, prints the row's line and ends the process when
/// the load is over. Times are those of the server while the load lasted, operations the requests, those of the
/// warm-up included in both.
pub fn end_after_load(options: &Options, address: SocketAddr) {
    let load = options.load.clone().unwrap_or_else(|| beside_this_program("echo-load"));
    let arguments = [address.to_string(), options.connections.to_string(), options.seconds.to_string()];
    std::thread::spawn(move || {
        let code = match under_load(&load, &arguments) {
            Ok(end) => {
                println!("{}", json(&end));
                0
            }
            Err(error) => {
                eprintln!("{error}");
                1
            }
        };
        std::process::exit(code);
    });
}

fn under_load(load: &Path, arguments: &[String]) -> Result<End, String> {
    let clocks = Clocks::start();
    let output = Command::new(load)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot start {}: {e}", load.display()))?;
    let mut outcome = clocks.outcome(0);
    if !output.status.success() {
        return Err(format!("the load generator failed: {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let Ok(Value::Object(figures)) = serde_json::from_str(&text) else {
        return Err(format!("the load generator says: {text}"));
    };
    outcome.operations = figures.get("requests").and_then(Value::as_u64).unwrap_or(0);
    outcome.further = figures;
    Ok(outcome.into())
}

fn beside_this_program(name: &str) -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name(name)
}
