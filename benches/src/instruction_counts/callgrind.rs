//! Runs a program under callgrind and reads the call arcs of its profile.
//!
//! The profile is text. Written without compression of names and positions, what matters here is: `fn=NAME` begins the lines
//! of a function; `cob=OBJECT` (optional: by default the object is that of the caller), `cfi=`/`cfl=FILE` and `cfn=NAME` name a
//! callee; `calls=COUNT POSITION` follows them, and the line after it ends in the inclusive cost of those calls. The cost of an
//! arc begins with the callee's first instruction and ends with its return.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// The calls on all arcs of one kind together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Number of calls.
    pub count: u64,
    /// Instructions of the callees and of what they called.
    pub inclusive: u64,
    /// The file in which the callee lies.
    pub object: String,
}

/// The call arcs of a run.
#[derive(Debug, Default)]
pub struct Profile {
    by_caller: HashMap<String, Calls>,
    by_callee: HashMap<String, Calls>,
}

impl Profile {
    /// All calls made by the function of that name.
    pub fn callees_of(&self, caller: &str) -> Option<&Calls> {
        self.by_caller.get(caller)
    }

    /// All calls of the function of that name.
    pub fn calls_to(&self, callee: &str) -> Option<&Calls> {
        self.by_callee.get(callee)
    }

    fn add(&mut self, caller: &str, callee: &str, object: &str, count: u64, inclusive: u64) {
        let arcs = [self.by_caller.entry(caller.to_owned()), self.by_callee.entry(callee.to_owned())];
        for calls in arcs.map(|entry| entry.or_default()) {
            calls.count += count;
            calls.inclusive += inclusive;
            object.clone_into(&mut calls.object);
        }
    }
}

/// Whether valgrind can be run here.
pub fn available() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Runs `program` under callgrind, with `library` preloaded into it, and reads its profile.
pub fn profile(
    program: &Path,
    arguments: &[String],
    library: Option<&Path>,
    scratch: &Path,
) -> Result<Profile, String> {
    let out = scratch.join(format!("callgrind-{}", std::process::id()));
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no", "--dump-instr=no"]);
    command.arg(format!("--callgrind-out-file={}", out.display())).arg(program).args(arguments);
    // valgrind adds its own part to LD_PRELOAD and hands the whole on to the program. That the launcher itself runs on the
    // library too does no harm.
    match library {
        Some(library) => command.env("LD_PRELOAD", library),
        None => command.env_remove("LD_PRELOAD"),
    };
    let output = command.output().map_err(|e| format!("cannot start valgrind: {e}"))?;
    let text = std::fs::read_to_string(&out);
    let _ = std::fs::remove_file(&out);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} under callgrind: {}\n{errors}", program.display(), output.status));
    }
    parse(&text.map_err(|e| format!("callgrind wrote no profile: {e}"))?)
}

/// Reads a profile from its text.
pub fn parse(text: &str) -> Result<Profile, String> {
    let mut profile = Profile::default();
    let (mut object, mut caller) = (String::new(), String::new());
    let (mut callee_object, mut callee) = (None, String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("ob=") {
            name.clone_into(&mut object);
        } else if let Some(name) = line.strip_prefix("fn=") {
            name.clone_into(&mut caller);
        } else if let Some(name) = line.strip_prefix("cob=") {
            callee_object = Some(name.to_owned());
        } else if let Some(name) = line.strip_prefix("cfn=") {
            name.clone_into(&mut callee);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let count = calls.split(' ').next().and_then(|word| word.parse().ok());
            let cost = lines.next().and_then(|cost| cost.rsplit(' ').next()).and_then(|word| word.parse().ok());
            let (Some(count), Some(cost)) = (count, cost) else {
                return Err(format!("a line of the profile is not understood: {line}"));
            };
            let callee_object = callee_object.take();
            profile.add(&caller, &callee, callee_object.as_deref().unwrap_or(&object), count, cost);
        }
    }
    if profile.by_caller.is_empty() { Err("the profile has no calls".into()) } else { Ok(profile) }
}

#[cfg(test)]
mod tests {
    use super::parse;

    const TEXT: &str = "version: 1\nevents: Ir\n\nob=/bin/driver\nfl=d.rs\nfn=main\n10 7\ncfn=measured\ncalls=3 20\n11 90\n\
                        fn=measured\n20 9\ncob=/lib/x.so\ncfi=x.rs\ncfn=alias_of_malloc\ncalls=2 1\n21 32\n21 4\n\
                        cob=/lib/x.so\ncfi=x.rs\ncfn=slow\ncalls=1 5\n21 50\n\ntotals: 100\n";

    #[test]
    fn arcs_are_summed_by_caller_and_by_callee() {
        let profile = parse(TEXT).unwrap();
        let calls = profile.callees_of("measured").unwrap();
        assert_eq!((calls.count, calls.inclusive, calls.object.as_str()), (3, 82, "/lib/x.so"));
        let calls = profile.calls_to("measured").unwrap();
        assert_eq!((calls.count, calls.inclusive, calls.object.as_str()), (3, 90, "/bin/driver"));
        assert!(profile.callees_of("malloc").is_none());
    }

    #[test]
    fn what_is_not_a_profile_is_an_error() {
        assert!(parse("").is_err());
        assert!(parse("fn=a\ncfn=b\ncalls=x 1\n1 1\n").is_err());
    }
}
