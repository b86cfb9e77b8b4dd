//! What one process of a run leaves for the next one: which collections it has filled, and the seal of each record that it has
//! written. Files in a folder that only the run's own processes have. None of it is a proof: the next process compares all.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ledger::Ledger;
use super::seal::{SEAL, Seal};

/// The file that says what was done: there once all of it was.
const WORD: &str = "filled.json";
/// Bytes of an id that no Chroma takes: a longer one is no id of ours.
const LONGEST: u32 = 64 << 20;

/// What a process of a run does for the next one, or takes from the one before.
#[derive(Clone, Debug)]
pub enum Handover {
    /// Fill the target, leave word in this folder, and end.
    Leave(PathBuf),
    /// Go on with what was filled.
    Take(Filled),
}

/// What a process has left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Word {
    /// The target's files are filled.
    Filled(Filled),
    /// They are not, and why.
    Not(String),
}

/// A target whose files were filled.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Filled {
    #[serde(skip)]
    folder: PathBuf,
    /// Its collections.
    pub collections: Vec<Handed>,
}

/// A collection that was filled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    /// The source's database.
    pub database: String,
    /// Its name in the source.
    pub name: String,
    /// Its UUID in the source.
    pub source: String,
    /// Its UUID in the target.
    pub target: String,
    /// Components of its vectors; 0 without records.
    pub dimension: usize,
    /// Records that were written.
    pub records: u64,
}

impl Filled {
    /// Begins to leave word in a folder.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(super) fn begin(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), collections: Vec::new() })
    }

    /// Leaves a collection: what its ledger says was sent.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(super) fn add(&mut self, mut handed: Handed, ledger: &Ledger) -> io::Result<()> {
        let file = self.records(self.collections.len());
        let mut out = BufWriter::new(File::create(file)?);
        handed.records = 0;
        for at in ledger.places(|entry| entry.known.is_sent()) {
            let at = at?;
            let (id, known) = (ledger.id(at)?, ledger.entry(at)?.known);
            let Some(seal) = known.seal() else { continue };
            let length = u32::try_from(id.len()).map_err(|_| broken())?;
            out.write_all(&length.to_le_bytes())?;
            out.write_all(id.as_bytes())?;
            out.write_all(&seal.pack())?;
            handed.records += 1;
        }
        out.flush()?;
        self.collections.push(handed);
        Ok(())
    }

    /// What was written of a collection, by its place among all, in id order.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn sent(&self, at: usize) -> io::Result<Sent> {
        let records = self.collections.get(at).map_or(0, |handed| handed.records);
        Ok(Sent { file: BufReader::new(File::open(self.records(at))?), left: records })
    }

    fn records(&self, at: usize) -> PathBuf {
        self.folder.join(format!("{at}.sent"))
    }
}

impl Word {
    /// Leaves it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn leave(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let part = folder.join(format!("{WORD}.part"));
        fs::write(&part, serde_json::to_string(self)?)?;
        fs::rename(part, folder.join(WORD))
    }

    /// What the process before has left in this folder; None: nothing.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(folder.join(WORD)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        Ok(Some(match serde_json::from_slice(&text)? {
            Self::Filled(filled) => Self::Filled(Filled { folder: folder.to_owned(), ..filled }),
            not @ Self::Not(_) => not,
        }))
    }
}

/// Reads what was written of a collection.
pub(super) struct Sent {
    file: BufReader<File>,
    left: u64,
}

impl Iterator for Sent {
    type Item = io::Result<(String, Seal)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.one())
    }
}

impl Sent {
    fn one(&mut self) -> io::Result<(String, Seal)> {
        let mut length = [0; 4];
        self.file.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > LONGEST {
            return Err(broken());
        }
        let mut id = vec![0; usize::try_from(length).map_err(|_| broken())?];
        self.file.read_exact(&mut id)?;
        let mut seal = [0; SEAL];
        self.file.read_exact(&mut seal)?;
        Ok((String::from_utf8(id).map_err(|_| broken())?, Seal::unpack(seal)))
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what the container fill has left was changed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Distance, Metadata, Record};

    fn seal(text: &str) -> Seal {
        let (document, metadata) = (Some(text.to_owned()), Metadata::new());
        let record = Record { id: text.to_owned(), embedding: vec![1.0], document, uri: None, metadata };
        Seal::of(&record, Distance::L2)
    }

    #[test]
    fn what_was_sent_is_read_as_it_was_left_and_a_cut_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("handover");
        assert!(Word::read(&folder).unwrap().is_none());
        let mut ledger = Ledger::new(["a", "b", "\u{1F600}"].iter().collect());
        ledger.sent("a", seal("a")).unwrap();
        ledger.sent("\u{1F600}", seal("c")).unwrap();
        let mut filled = Filled::begin(&folder).unwrap();
        let handed = Handed { name: "m".to_owned(), dimension: 3, ..Handed::default() };
        filled.add(handed.clone(), &ledger).unwrap();
        filled.add(Handed::default(), &Ledger::default()).unwrap();
        assert!(Word::read(&folder).unwrap().is_none(), "it says so when all is done");
        Word::Filled(filled).leave(&folder).unwrap();
        let Some(Word::Filled(filled)) = Word::read(&folder).unwrap() else { panic!("no word") };
        assert_eq!(filled.collections, [Handed { records: 2, ..handed }, Handed::default()]);
        let all: Vec<_> = filled.sent(0).unwrap().map(Result::unwrap).collect();
        assert_eq!(all, [("a".to_owned(), seal("a")), ("\u{1F600}".to_owned(), seal("c"))]);
        assert_eq!(filled.sent(1).unwrap().count(), 0);
        let file = filled.records(0);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        assert!(filled.sent(0).unwrap().last().unwrap().is_err());
    }

    #[test]
    fn why_it_was_not_filled_is_told() {
        let dir = tempfile::tempdir().unwrap();
        Word::Not("a mount".to_owned()).leave(dir.path()).unwrap();
        assert!(matches!(Word::read(dir.path()).unwrap(), Some(Word::Not(why)) if why == "a mount"));
    }
}
