//! The options of `fairground run` that configure the allocator, and `fairground conf`, which lists what can be configured.
//!
//! The allocator skips a setting it does not know, with a line on stderr, because it must not stop a program. The launcher
//! need not start one: what the allocator would skip is refused.

use crate::refusal::{LAUNCHER_FAILED, Refusal};
use crate::settings;
use clap::{Args, ValueEnum};
use fairground_allocator::config::KEYS;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

pub const HELP: &str = "\
A configuration is KEY:VALUE,KEY:VALUE in the variable FAIRGROUND_CONF. A program may bring one of its own
(const char fairground_conf[] in C, fairground_allocator::configure! in Rust); the variable has the last word,
but for setuid programs, which do not look at it.

Examples:
  fairground run --conf decay_ms:1000,huge_pages:dense -- ./program
  FAIRGROUND_CONF=stats_signal:10,stats_to:/tmp/heap.%p LD_PRELOAD=libfairground.so.0 ./program";

#[derive(Args)]
pub struct Options {
    /// Configure the allocator: settings with commas between, such as decay_ms:1000,arenas:2; `fairground conf` lists them
    #[arg(long, value_name = "KEY:VALUE,...")]
    conf: Vec<String>,
    /// At exit, write tables of the heap to stderr [default form: text]
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    stats: Option<Form>,
    /// Append these to FILE instead; %p in it is the process id
    #[arg(long, value_name = "FILE", requires = "stats")]
    stats_to: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Text,
    Json,
}

impl Options {
    /// The settings these options stand for. Those of options of their own come last, and so have the last word.
    pub fn settings(&self) -> Result<Vec<(&'static str, String)>, Refusal> {
        let mut settings = Vec::new();
        for text in &self.conf {
            if let Some(complaint) = settings::complaints(text) {
                return Err(Refusal::launcher(complaint, "see `fairground conf` for all keys and their values"));
            }
            settings.extend(split(text));
        }
        if let Some(form) = self.stats {
            let form = if matches!(form, Form::Json) { "json" } else { "text" };
            settings.push(("stats", form.to_owned()));
        }
        if let Some(file) = &self.stats_to {
            let path = settings::absolute("--stats-to", file)?;
            if let Some(complaint) = settings::complaints(&format!("stats_to:{path}")) {
                return Err(Refusal::launcher(complaint, "name another file"));
            }
            settings.push(("stats_to", path));
        }
        Ok(settings)
    }
}

/// Keys and values of a text that the allocator does not complain about.
fn split(text: &str) -> impl Iterator<Item = (&'static str, String)> {
    text.split(',').filter_map(|part| part.split_once(':')).filter_map(|(name, value)| {
        let key = KEYS.iter().find(|key| key.name == name.trim())?;
        Some((key.name, value.trim().to_owned()))
    })
}

#[derive(Args)]
pub struct ListOptions {}

/// Prints all keys.
pub fn list(_: ListOptions) -> Result<ExitCode, Refusal> {
    let printed = std::io::stdout().write_all(table().as_bytes());
    Ok(if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(LAUNCHER_FAILED) })
}

/// A line and a sentence for each key: in one line they would not fit on most terminals.
fn table() -> String {
    let mut text = format!("{:<16} {:<8} {}\n", "KEY", "DEFAULT", "VALUES");
    for key in KEYS {
        let mut allowed = String::new();
        key.allowed(|piece| allowed.push_str(piece));
        let default = if key.default.is_empty() { "-" } else { key.default };
        text += &format!("{:<16} {default:<8} {allowed}\n    {}\n", key.name, key.meaning);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(conf: &[&str], stats: Option<Form>, file: Option<&str>) -> Result<String, String> {
        let conf = conf.iter().map(|&text| text.to_owned()).collect();
        let options = Options { conf, stats, stats_to: file.map(Into::into) };
        let settings = options.settings().map_err(|refusal| refusal.to_string())?;
        Ok(settings::compose(None, &settings).into_string().unwrap())
    }

    #[test]
    fn options_become_settings() {
        assert_eq!(settings(&[], None, None), Ok(String::new()));
        assert_eq!(
            settings(&[" arenas : 2 ,,leaks:true", "arenas:3"], None, None).unwrap(),
            "arenas:2,leaks:true,arenas:3"
        );
        assert_eq!(
            settings(&["stats:json"], Some(Form::Text), Some("/a:b.%p")).unwrap(),
            "stats:json,stats:text,stats_to:/a:b.%p"
        );
        assert!(settings(&[], Some(Form::Json), Some("a")).unwrap().starts_with("stats:json,stats_to:/"));
    }

    #[test]
    fn what_the_allocator_would_skip_is_refused_in_its_words() {
        let refusal = settings(&["leaks:true,arenas:9"], None, None).unwrap_err();
        assert!(refusal.contains("'arenas:9' is skipped: arenas takes a number from 1 to 4"), "{refusal}");
        assert!(settings(&["leaks"], None, None).unwrap_err().contains("leaks takes true or false"));
        assert!(settings(&["nothing:1"], None, None).unwrap_err().contains("allowed are KEY:VALUE"));
        assert!(settings(&[], Some(Form::Text), Some("/a,b")).unwrap_err().contains("--stats-to /a,b: the path"));
        let long = format!("/{}", "a".repeat(300));
        assert!(settings(&[], Some(Form::Text), Some(&long)).unwrap_err().contains("a path of at most 255 bytes"));
    }

    #[test]
    fn the_list_has_every_key_with_what_it_takes() {
        let table = table();
        for key in KEYS {
            let row = table.lines().position(|line| line.split_whitespace().next() == Some(key.name)).expect(key.name);
            let mut lines = table.lines().skip(row);
            assert!(lines.next().unwrap().contains(key.default), "{}", key.name);
            assert_eq!(lines.next().unwrap().trim(), key.meaning);
        }
        assert!(table.contains("\narenas           1        a number from 1 to 4\n"), "{table}");
    }

    #[test]
    fn the_table_in_the_documentation_is_that_of_the_allocator() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let document = std::fs::read_to_string(path).unwrap();
        let present: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
        let rows = KEYS.iter().map(|key| {
            let mut allowed = String::new();
            key.allowed(|piece| allowed.push_str(piece));
            let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
            format!("| `{}` | {default} | {allowed} | {} |", key.name, key.meaning)
        });
        let rows: Vec<String> = rows.collect();
        assert_eq!(present, rows, "docs/configuration.md differs; it should have\n{}\n", rows.join("\n"));
    }
}
