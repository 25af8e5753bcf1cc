//! The programs that take a text and print an answer: interpreters, a database, a compiler, a renderer.
//!
//! The amounts are chosen so that each takes about a second of CPU time on the C library's allocator on a current processor.

use super::{Place, Program, digest_of_output};
use std::process::Command;

pub(super) const SQLITE: Program = Program {
    name: "sqlite3",
    stands_for: "a database in memory: inserts, indexes, joins, aggregates, deletes, VACUUM",
    executable: "sqlite3",
    package: "sqlite3",
    prepare: |place, command| {
        let script = include_str!("inputs/shop.sql").replace("{rows}", &place.amount(60_000).to_string());
        let script = place.write("shop.sql", &script)?;
        command.args(["-batch", "-bail", ":memory:"]).arg(format!(".read '{}'", script.display()));
        Ok(())
    },
    answer: digest_of_output,
};

pub(super) const PYTHON: Program = Program {
    name: "python3",
    stands_for: "a Python service's dicts, lists, strings and JSON, built, sorted and dropped",
    executable: "python3",
    package: "python3",
    prepare: |place, command| {
        command.env("PYTHONMALLOC", "default");
        python(place, command, 12)
    },
    answer: digest_of_output,
};

pub(super) const PYTHON_MALLOC: Program = Program {
    name: "python3-malloc",
    stands_for: "the same with every object from malloc, as with PYTHONMALLOC=malloc",
    executable: "python3",
    package: "python3",
    prepare: |place, command| {
        command.env("PYTHONMALLOC", "malloc");
        python(place, command, 8)
    },
    answer: digest_of_output,
};

fn python(place: &Place, command: &mut Command, rounds: u32) -> Result<(), String> {
    let script = place.write("documents.py", include_str!("inputs/documents.py"))?;
    // Sets and dicts of strings are laid out by their hashes, which are random otherwise.
    command.env("PYTHONHASHSEED", "0").arg(script).arg(place.amount(rounds).to_string());
    Ok(())
}

pub(super) const GXX: Program = Program {
    name: "g++",
    stands_for: "the C++ compiler on templates and the standard library, -O1 to assembly (driver and cc1plus)",
    executable: "g++",
    package: "g++",
    prepare: |place, command| {
        let source = include_str!("../../../../tests/programs/templates.cpp");
        let source = place.write("templates.cpp", source)?;
        command
            .args(["-std=c++17", "-O1", "-S", "-o", "-"])
            .arg(format!("-DINSTANCES={}", place.amount(4)))
            .arg(source);
        Ok(())
    },
    answer: digest_of_output,
};

pub(super) const NODE: Program = Program {
    name: "node",
    stands_for: "a JavaScript server's requests: buffers, JSON, objects and Maps, gzip",
    executable: "node",
    package: "nodejs",
    prepare: |place, command| {
        let script = place.write("requests.js", include_str!("inputs/requests.js"))?;
        command.arg(script).arg(place.amount(15_000).to_string());
        Ok(())
    },
    answer: digest_of_output,
};

pub(super) const GHOSTSCRIPT: Program = Program {
    name: "ghostscript",
    stands_for: "a print server's page renderer: fonts, paths, clips, shadings and images to bitmaps",
    executable: "gs",
    package: "ghostscript",
    prepare: |place, command| {
        let document = place.write("pages.ps", include_str!("inputs/pages.ps"))?;
        command.args(["-q", "-dSAFER", "-dNOPAUSE", "-dBATCH", "-sDEVICE=pgmraw", "-r72", "-sOutputFile=-"]);
        // Smoothed edges: glyphs and paths are rendered larger and scaled down, in buffers of their own.
        command.args(["-dTextAlphaBits=4", "-dGraphicsAlphaBits=4"]);
        command.arg(format!("-dpages={}", place.amount(18))).arg(document);
        Ok(())
    },
    answer: digest_of_output,
};

pub(super) const PERL: Program = Program {
    name: "perl",
    stands_for: "a report from log files: regular expressions, nested hashes, sorting, joining",
    executable: "perl",
    package: "perl",
    prepare: |place, command| {
        let script = place.write("logs.pl", include_str!("inputs/logs.pl"))?;
        // The order of hashes is random otherwise, and with it the work of sorting.
        command.env("PERL_HASH_SEED", "0").env("PERL_PERTURB_KEYS", "0");
        command.arg(script).arg(place.amount(100_000).to_string());
        Ok(())
    },
    answer: digest_of_output,
};

pub(super) const LUA: Program = Program {
    name: "lua",
    stands_for: "scripts in games and proxies: small tables, closures and strings under a garbage collector",
    executable: "lua5.4",
    package: "lua5.4",
    prepare: |place, command| {
        let script = place.write("world.lua", include_str!("inputs/world.lua"))?;
        command.arg(script).arg(place.amount(300_000).to_string());
        Ok(())
    },
    answer: digest_of_output,
};
