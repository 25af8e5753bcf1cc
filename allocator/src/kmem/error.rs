//! What can be wrong with a typed cache, in words for people, and the names of caches.

use super::geometry::{ALIGN_MAX, OBJECT_MAX};
use super::table::MAX_CACHES;
use core::fmt;

/// Bytes of the longest name.
pub(crate) const NAME_MAX: usize = 31;

/// A cache's name: 1 to 31 visible characters of ASCII, so that it is one column of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CacheName {
    /// Zeroes behind the name, one at least: what C wants.
    bytes: [u8; NAME_MAX + 1],
}

impl CacheName {
    /// For reports about a cache that is gone.
    pub(crate) const UNKNOWN: CacheName = {
        let mut bytes = [0; NAME_MAX + 1];
        bytes[0] = b'?';
        CacheName { bytes }
    };

    /// A name, if it is one.
    pub(crate) const fn new(name: &[u8]) -> Result<CacheName, CacheError> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(CacheError::NameLength { length: name.len() });
        }
        let mut bytes = [0; NAME_MAX + 1];
        let mut at = 0;
        while at < name.len() {
            if !name[at].is_ascii_graphic() {
                return Err(CacheError::NameByte { byte: name[at], at });
            }
            bytes[at] = name[at];
            at += 1;
        }
        Ok(CacheName { bytes })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let length = self.bytes.iter().position(|&byte| byte == 0).unwrap_or(NAME_MAX);
        core::str::from_utf8(&self.bytes[..length]).unwrap_or("?")
    }
}

impl fmt::Debug for CacheName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for CacheName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a cache could not be made, used or destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheError {
    /// The name is empty or too long.
    NameLength {
        /// Its bytes.
        length: usize,
    },
    /// The name has a character that is not visible ASCII.
    NameByte {
        /// The byte in question.
        byte: u8,
        /// Its place in the name.
        at: usize,
    },
    /// No slab holds objects of this size.
    Size {
        /// The size asked for.
        size: usize,
    },
    /// Not a power of two, or too large.
    Align {
        /// The alignment asked for.
        align: usize,
    },
    /// As many caches exist as there can be.
    TooMany,
    /// The system has no memory left.
    OutOfMemory,
    /// The cache has objects that the program has not given back.
    Busy {
        /// The cache.
        name: CacheName,
        /// How many objects.
        live: usize,
    },
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            CacheError::NameLength { length } => {
                write!(f, "the cache's name has {length} bytes; 1 to {NAME_MAX} are allowed")
            }
            CacheError::NameByte { byte, at } => write!(
                f,
                "the cache's name has the byte {byte:#04x} at place {at}; visible characters of ASCII without spaces are allowed"
            ),
            CacheError::Size { size } => {
                write!(f, "objects of {size} bytes are asked for; a cache has objects of 1 to {OBJECT_MAX} bytes")
            }
            CacheError::Align { align } => {
                write!(f, "an alignment of {align} is asked for; powers of two from 1 to {ALIGN_MAX} are allowed")
            }
            CacheError::TooMany => {
                write!(f, "there are {MAX_CACHES} caches, and no more are possible; destroy one that is not used")
            }
            CacheError::OutOfMemory => f.write_str("out of memory"),
            CacheError::Busy { name, live: 1 } => {
                write!(f, "the cache {name} has 1 live object; free it before the cache is destroyed")
            }
            CacheError::Busy { name, live } => {
                write!(f, "the cache {name} has {live} live objects; free them before the cache is destroyed")
            }
        }
    }
}

impl core::error::Error for CacheError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_1_to_31_visible_characters() {
        let name = |text: &str| CacheName::new(text.as_bytes());
        for text in ["a", "task", "task-48", "0123456789012345678901234567890"] {
            assert_eq!(name(text).expect("a name").as_str(), text);
        }
        assert_eq!(name(""), Err(CacheError::NameLength { length: 0 }));
        assert_eq!(name("01234567890123456789012345678901"), Err(CacheError::NameLength { length: 32 }));
        assert_eq!(name("a b"), Err(CacheError::NameByte { byte: b' ', at: 1 }));
        assert_eq!(name("ü"), Err(CacheError::NameByte { byte: 0xc3, at: 0 }));
        assert_eq!(name("ab\0"), Err(CacheError::NameByte { byte: 0, at: 2 }));
    }

    #[test]
    fn errors_say_the_value_and_what_is_allowed() {
        let task = CacheName::new(b"task").expect("a name");
        for (error, words) in [
            (CacheError::NameLength { length: 40 }, ["40 bytes", "1 to 31"]),
            (CacheError::NameByte { byte: 32, at: 3 }, ["0x20 at place 3", "without spaces"]),
            (CacheError::Size { size: 40_000 }, ["40000 bytes", "1 to 32768 bytes"]),
            (CacheError::Align { align: 24 }, ["alignment of 24", "powers of two from 1 to 4096"]),
            (CacheError::TooMany, ["1024 caches", "destroy one"]),
            (CacheError::Busy { name: task, live: 1 }, ["cache task", "1 live object;"]),
            (CacheError::Busy { name: task, live: 12 }, ["cache task", "12 live objects"]),
        ] {
            let text = error.to_string();
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
    }
}
