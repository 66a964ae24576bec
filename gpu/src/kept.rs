//! Machine code that was made once, in a folder: a second start makes none.
use sha2::{Digest, Sha256};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder of machine code, a file each, named by what it was made of; or none.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    folder: Option<PathBuf>,
}

/// Bytes of the hash of the code, which each file begins with.
const HASH_BYTES: usize = 32;

impl Kept {
    /// In that folder, which is made when there is something to keep.
    pub fn at(folder: PathBuf) -> Kept {
        Kept { folder: Some(folder) }
    }

    /// The code made of `parts`; none where it was not kept, or is not as it was written.
    pub(crate) fn get(&self, parts: &[&[u8]]) -> Option<Vec<u8>> {
        let file = fs::read(self.path(parts)?).ok()?;
        let (hash, code) = file.split_at_checked(HASH_BYTES)?;
        (hash == &Sha256::digest(code)[..]).then(|| code.to_vec())
    }

    /// Keeps code. A folder that cannot be written, as on a disk that is full or of somebody else, costs the next
    /// start its time and nothing more.
    pub(crate) fn put(&self, parts: &[&[u8]], code: &[u8]) {
        let Some(path) = self.path(parts) else { return };
        // Threads of one process make the same code, too.
        static PARTIALS: AtomicU64 = AtomicU64::new(0);
        let number = PARTIALS.fetch_add(1, Ordering::Relaxed);
        let partial = path.with_extension(format!("{}-{number}", std::process::id()));
        let bytes = [&Sha256::digest(code)[..], code].concat();
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        let written =
            folder.and_then(|()| fs::write(&partial, bytes)).and_then(|()| fs::rename(&partial, path));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
    }

    fn path(&self, parts: &[&[u8]]) -> Option<PathBuf> {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(self.folder.as_ref()?.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_by_all_it_was_made_of_and_only_whole() {
        let folder = std::env::temp_dir().join(format!("heddle-kept-{}", std::process::id()));
        let kept = Kept::at(folder.clone());
        let made_of: [&[u8]; 2] = [b"sm_90a", b"text"];
        assert_eq!(kept.get(&made_of), None);
        kept.put(&made_of, b"code");
        assert_eq!(kept.get(&made_of).as_deref(), Some(&b"code"[..]));
        assert_eq!(kept.get(&[b"sm_90", b"atext"]), None);
        let path = kept.path(&made_of).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        for damaged in [&bytes[..], &bytes[..10], b""] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(kept.get(&made_of), None);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
        Kept::at("/proc/nowhere".into()).put(&made_of, b"code");
        Kept::default().put(&made_of, b"code");
        assert_eq!(Kept::default().get(&made_of), None);
    }

    #[test]
    fn threads_that_keep_the_same_do_not_meet() {
        let folder = std::env::temp_dir().join(format!("heddle-kept-threads-{}", std::process::id()));
        let kept = Kept::at(folder.clone());
        let code = vec![7; 1 << 20];
        let made_of: [&[u8]; 1] = [b"text"];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..8 {
                        kept.put(&made_of, &code);
                        assert_eq!(kept.get(&made_of).as_ref(), Some(&code));
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
