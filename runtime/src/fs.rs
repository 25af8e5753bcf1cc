//! Files, as `std::fs`: each call is made on a helper thread, for the system has no files that say when they are ready.
//!
//! What a call gets and gives goes to the helper and back, so reading and writing copy once more than std does, through a buffer of at most `CHUNK`
//! bytes a call. A cancelled task does not wait for its call: what that read is lost, what it writes may be written.

use crate::blocking::unblock;
use std::fs::{self, DirEntry, Metadata, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that one call of `read` or `write` moves at most: going to a helper thread and back costs what copying a quarter of this does.
const CHUNK: usize = 256 * 1024;

/// Functions of a path, as std's.
macro_rules! of_a_path {
    ($($(#[$doc:meta])* $name:ident -> $result:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        #[doc = concat!("As [`std::fs::", stringify!($name), "`].")]
        pub fn $name<P: AsRef<Path>>(path: P) -> io::Result<$result> {
            let path = path.as_ref().to_owned();
            unblock(move || fs::$name(path))
        }
    )*};
}

of_a_path! {
    /// All that is in a file.
    read -> Vec<u8>;
    /// All that is in a file, as text.
    read_to_string -> String;
    /// Removes a file.
    remove_file -> ();
    /// Makes a folder.
    create_dir -> ();
    /// Makes a folder and those it is in, where they are missing.
    create_dir_all -> ();
    /// Removes an empty folder.
    remove_dir -> ();
    /// Removes a folder with all that is in it.
    remove_dir_all -> ();
    /// What the system knows of a file; of what a link leads to.
    metadata -> Metadata;
    /// What the system knows of a file; of a link itself.
    symlink_metadata -> Metadata;
    /// The whole path, without links.
    canonicalize -> PathBuf;
    /// Where a link leads to.
    read_link -> PathBuf;
    /// Whether there is something.
    exists -> bool;
}

/// Functions of two paths, as std's.
macro_rules! of_two_paths {
    ($($(#[$doc:meta])* $name:ident -> $result:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        #[doc = concat!("As [`std::fs::", stringify!($name), "`].")]
        pub fn $name<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<$result> {
            let (from, to) = (from.as_ref().to_owned(), to.as_ref().to_owned());
            unblock(move || fs::$name(from, to))
        }
    )*};
}

of_two_paths! {
    /// Copies a file; the number of bytes.
    copy -> u64;
    /// Gives another name, which replaces a file that has it.
    rename -> ();
    /// Gives a second name.
    hard_link -> ();
}

/// Makes `contents` all that is in a file.
///
/// # Errors
/// As [`std::fs::write`].
///
/// # Examples
/// ```
/// use fairground_runtime::fs;
///
/// let path = std::env::temp_dir().join(format!("fairground-{}", std::process::id()));
/// fs::write(&path, "hello")?;
/// assert_eq!(fs::read_to_string(&path)?, "hello");
/// fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, contents: C) -> io::Result<()> {
    let (path, contents) = (path.as_ref().to_owned(), contents.as_ref().to_owned());
    unblock(move || fs::write(path, contents))
}

/// What is in a folder, all at once.
///
/// # Errors
/// As [`std::fs::read_dir`], or of the first entry that cannot be read.
pub fn read_dir<P: AsRef<Path>>(path: P) -> io::Result<Vec<DirEntry>> {
    let path = path.as_ref().to_owned();
    unblock(move || fs::read_dir(path)?.collect())
}

/// Changes who may do what.
///
/// # Errors
/// As [`std::fs::set_permissions`].
pub fn set_permissions<P: AsRef<Path>>(path: P, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    unblock(move || fs::set_permissions(path, permissions))
}

/// An open file, as [`std::fs::File`].
///
/// # Examples
/// ```
/// use fairground_runtime::fs::File;
/// use std::io::Read;
///
/// let mut text = String::new();
/// File::open("Cargo.toml")?.read_to_string(&mut text)?;
/// assert!(text.contains("[package]"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct File(Arc<fs::File>);

impl File {
    /// To read.
    ///
    /// # Errors
    /// As [`std::fs::File::open`].
    pub fn open<P: AsRef<Path>>(path: P) -> io::Result<File> {
        File::options(fs::OpenOptions::new().read(true), path)
    }

    /// To write, from an empty file.
    ///
    /// # Errors
    /// As [`std::fs::File::create`].
    pub fn create<P: AsRef<Path>>(path: P) -> io::Result<File> {
        File::options(fs::OpenOptions::new().write(true).create(true).truncate(true), path)
    }

    /// To write, into a file that is not there yet.
    ///
    /// # Errors
    /// As [`std::fs::File::create_new`].
    pub fn create_new<P: AsRef<Path>>(path: P) -> io::Result<File> {
        File::options(fs::OpenOptions::new().read(true).write(true).create_new(true), path)
    }

    /// As the options say, which are std's.
    ///
    /// # Errors
    /// As [`std::fs::OpenOptions::open`].
    pub fn options<P: AsRef<Path>>(options: &fs::OpenOptions, path: P) -> io::Result<File> {
        let (options, path) = (options.clone(), path.as_ref().to_owned());
        unblock(move || options.open(path)).map(File::from_std)
    }

    /// Of std's.
    pub fn from_std(file: fs::File) -> File {
        File(Arc::new(file))
    }

    fn call<T: Send + 'static>(&self, f: impl FnOnce(&fs::File) -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let file = Arc::clone(&self.0);
        unblock(move || f(&file))
    }

    /// Waits until all is on the disk.
    ///
    /// # Errors
    /// As [`std::fs::File::sync_all`].
    pub fn sync_all(&self) -> io::Result<()> {
        self.call(fs::File::sync_all)
    }

    /// Waits until the contents are on the disk.
    ///
    /// # Errors
    /// As [`std::fs::File::sync_data`].
    pub fn sync_data(&self) -> io::Result<()> {
        self.call(fs::File::sync_data)
    }

    /// Cuts it, or fills it up with zeros.
    ///
    /// # Errors
    /// As [`std::fs::File::set_len`].
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        self.call(move |file| file.set_len(size))
    }

    /// What the system knows of it.
    ///
    /// # Errors
    /// As [`std::fs::File::metadata`].
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.call(fs::File::metadata)
    }

    /// Changes who may do what.
    ///
    /// # Errors
    /// As [`std::fs::File::set_permissions`].
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.call(move |file| file.set_permissions(permissions))
    }

    /// Another handle, with the same place in the file.
    ///
    /// # Errors
    /// None today; the result is there for the likeness with std.
    pub fn try_clone(&self) -> io::Result<File> {
        Ok(File(Arc::clone(&self.0)))
    }
}

impl Read for &File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = buf.len().min(CHUNK);
        let read = self.call(move |mut file| {
            let mut bytes = vec![0; room];
            let n = file.read(&mut bytes)?;
            bytes.truncate(n);
            Ok(bytes)
        })?;
        buf[..read.len()].copy_from_slice(&read);
        Ok(read.len())
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let rest = self.call(|mut file| {
            let mut rest = Vec::new();
            file.read_to_end(&mut rest)?;
            Ok(rest)
        })?;
        buf.extend_from_slice(&rest);
        Ok(rest.len())
    }
}

impl Write for &File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let bytes = buf[..buf.len().min(CHUNK)].to_owned();
        self.call(move |mut file| file.write(&bytes))
    }

    /// Nothing is held back here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.call(move |mut file| file.seek(to))
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buf)
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}
