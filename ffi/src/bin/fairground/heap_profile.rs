//! The options of `fairground run` that ask for a heap profile, as settings of the allocator.

use crate::refusal::Refusal;
use crate::settings;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct Options {
    /// Take a heap profile and write it to FILE at exit, for `go tool pprof` and `fairground flamegraph`; %p in it is the
    /// process id. Without %p the file is that of the process that ends last, if the program starts others
    #[arg(long, value_name = "FILE")]
    heap_profile: Option<PathBuf>,
    /// At exit, report on stderr what was never freed, and where it was allocated
    #[arg(long)]
    leaks: bool,
    /// Bytes between two samples, on average; 1 records every block (a page each) [default: 512K]
    #[arg(long, value_name = "BYTES")]
    profile_every: Option<String>,
}

impl Options {
    /// The settings these options stand for.
    pub fn settings(&self) -> Result<Vec<(&'static str, String)>, Refusal> {
        let mut settings = Vec::new();
        if let Some(file) = &self.heap_profile {
            settings.push(("profile", "true".to_owned()));
            settings.push(("profile_to", settings::absolute("--heap-profile", file)?));
        }
        if self.leaks {
            settings.push(("leaks", "true".to_owned()));
        }
        if let Some(bytes) = &self.profile_every {
            if settings.is_empty() {
                return Err(Refusal::launcher(
                    "--profile-every alone does nothing",
                    "add --heap-profile FILE or --leaks",
                ));
            }
            settings.push(("profile_every", bytes.clone()));
        }
        for (key, value) in &settings {
            if let Some(complaint) = settings::complaints(&format!("{key}:{value}")) {
                return Err(Refusal::launcher(complaint, "give another value"));
            }
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(file: Option<&str>, leaks: bool, every: Option<&str>) -> Result<String, String> {
        let options = Options { heap_profile: file.map(Into::into), leaks, profile_every: every.map(str::to_owned) };
        let settings = options.settings().map_err(|refusal| refusal.to_string())?;
        Ok(settings::compose(None, &settings).into_string().unwrap())
    }

    #[test]
    fn options_become_settings() {
        assert_eq!(settings(None, false, None), Ok(String::new()));
        assert_eq!(settings(Some("/a.%p"), false, None), Ok("profile:true,profile_to:/a.%p".into()));
        assert_eq!(settings(None, true, Some("64K")), Ok("leaks:true,profile_every:64K".into()));
        assert!(settings(Some("a"), false, None).unwrap().contains("profile_to:/"));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert!(settings(None, false, Some("1")).unwrap_err().contains("--leaks"));
        assert!(settings(None, true, Some("many")).unwrap_err().contains("profile_every takes bytes from 1"));
        assert!(settings(Some("/a,b"), false, None).unwrap_err().contains("no comma"));
    }
}
