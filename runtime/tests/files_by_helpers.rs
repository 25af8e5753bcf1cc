//! Files, on helper threads.

use fairground_runtime::fs::{self, File};
use fairground_runtime::{Runtime, spawn};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};

fn runtime() -> Runtime {
    Runtime::builder().workers(1).pin(false).build().expect("a runtime")
}

#[test]
fn what_was_written_is_read_from_anywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let both = || {
        // More than one call moves.
        let data: Vec<u8> = (0..1_000_000_u32).map(|n| (n.wrapping_mul(n) >> 5) as u8).collect();
        let mut file = File::create(&path).expect("made");
        file.write_all(&data).expect("written");
        file.sync_all().expect("on the disk");
        assert_eq!(file.metadata().expect("known").len(), 1_000_000);
        let mut file = File::open(&path).expect("opened");
        let mut back = vec![0; data.len()];
        file.read_exact(&mut back).expect("read");
        assert!(back == data, "it changed");
        assert_eq!(file.read(&mut back).expect("the end"), 0);
        assert_eq!(file.seek(SeekFrom::Start(999_000)).expect("there"), 999_000);
        let mut rest = vec![42];
        assert_eq!(file.read_to_end(&mut rest).expect("read"), 1000);
        assert_eq!((rest[0], &rest[1..]), (42, &data[999_000..]));
        assert!(file.write(b"x").is_err(), "it was opened to be read");
        assert!(fs::read(&path).expect("read") == data);
    };
    runtime().run(both);
    both();
}

#[test]
fn folders_are_made_listed_and_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().run(|| {
        let deep = folder.path().join("a/b");
        fs::create_dir_all(&deep).expect("made");
        for name in ["one", "two"] {
            fs::write(deep.join(name), name).expect("written");
        }
        fs::rename(deep.join("two"), deep.join("three")).expect("renamed");
        assert_eq!(fs::copy(deep.join("one"), deep.join("four")).expect("copied"), 3);
        let mut names: Vec<_> = fs::read_dir(&deep).expect("read").iter().map(|entry| entry.file_name()).collect();
        names.sort();
        assert_eq!(names, ["four", "one", "three"]);
        assert_eq!(fs::read_to_string(deep.join("three")).expect("read"), "two");
        assert_eq!(File::create_new(deep.join("one")).expect_err("it is there").kind(), ErrorKind::AlreadyExists);
        fs::remove_file(deep.join("one")).expect("removed");
        assert_eq!(fs::read(deep.join("one")).expect_err("gone").kind(), ErrorKind::NotFound);
        assert!(fs::metadata(&deep).expect("known").is_dir() && fs::exists(&deep).expect("known"));
        fs::remove_dir_all(folder.path().join("a")).expect("removed");
        assert!(!fs::exists(&deep).expect("known"));
    });
}

#[test]
fn a_file_that_nobody_writes_to_holds_up_no_other_task() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fifo");
    let name = std::ffi::CString::new(path.to_str().expect("UTF-8")).expect("no zero byte");
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    runtime().run(|| {
        // Opening blocks until the other end is opened too, by a task of the same cpu.
        let theirs = path.clone();
        let reading = spawn(move || fs::read_to_string(theirs).expect("read"));
        let mut file = File::options(std::fs::OpenOptions::new().write(true), &path).expect("opened");
        file.write_all(b"through").expect("written");
        drop(file);
        assert_eq!(reading.join().expect("no panic"), "through");
    });
}
