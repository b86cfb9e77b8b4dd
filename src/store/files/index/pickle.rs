//! `index_metadata.pickle`: a dict (Chroma 1.x) or a `PersistentData` object (up to 0.6), and nothing else of pickle.
//! Never imports, calls or builds anything; every opcode outside the few that Chroma writes is an error.

use std::io::{self, BufRead, Read};

use super::labels::{Labels, Map};
use crate::scratch::{Column, HELD_BYTES, Spool};

mod meaning;
mod value;
use value::{PACKED, Value};

/// The class whose attributes Chroma pickled up to 0.6.
const CLASS: (&str, &str) = ("chromadb.segment.impl.vector.local_persistent_hnsw", "PersistentData");
/// Values that one byte of input makes (None, a dict, a class): the bound keeps memory in proportion to the file.
const MAX_SMALL: usize = 64;
/// Values between two marks at most: Python and Chroma 1.x set a thousand items at a time, so two thousand values.
const MAX_STACK: usize = 1 << 14;

/// Which ids a collection's HNSW index holds, and how far it has followed the write-ahead log.
#[derive(Debug)]
pub struct IndexMetadata {
    /// Components of a vector; 1.x writes None.
    pub dimension: Option<i64>,
    /// The last `seq_id` that the index holds; only 0.4 keeps it here.
    pub max_seq_id: Option<i64>,
    /// Labels that were ever given: no index has more rows (measured on 0.4.24 to 1.5.9).
    pub total: Option<i64>,
    /// Ids and their labels.
    pub labels: Labels,
    /// For some ids the last change that the index took of them; only Chroma up to 0.6 keeps it.
    pub changes: Vec<(String, i64)>,
    /// What of the rest is not as Chroma writes it, in a sentence about the file.
    pub flawed: Option<String>,
}

/// Reads the file's content. An inner error is a sentence that says what is wrong and at which byte.
///
/// # Errors
/// When the scratch space fails, where ids are kept beyond a bound.
pub fn parse(input: impl BufRead, len: u64) -> io::Result<Result<IndexMetadata, String>> {
    let mut machine = Machine::new(input, len);
    let root = loop {
        let at = machine.position;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => break Ok(root),
            Err(what) => break Err(format!("{what} at byte {at} of {len}")),
        }
    };
    let found = root.and_then(|root| machine.finish(root));
    if let Some(error) = machine.scratch {
        return Err(error);
    }
    let Root { numbers: [dimension, max_seq_id, total], maps: [forward, backward], odd } = match found {
        Ok(found) => found,
        Err(what) => return Ok(Err(what)),
    };
    let labels = Labels::of(forward, backward)?;
    let flawed: Vec<String> = labels.doubt().map(str::to_owned).into_iter().chain(odd).collect();
    let flawed = (!flawed.is_empty()).then(|| flawed.join(", and "));
    Ok(Ok(IndexMetadata { dimension, max_seq_id, total, labels, changes: machine.changes, flawed }))
}

/// What the pickled value holds.
struct Root {
    /// `dimensionality`, `max_seq_id`, `total_elements_added`.
    numbers: [Option<i64>; 3],
    maps: [Map; 2],
    /// Numbers that are none.
    odd: Option<String>,
}

/// Reads opcode by opcode. Memory is bounded: texts, memo and maps go to scratch space.
struct Machine<R> {
    input: R,
    position: u64,
    len: u64,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: Column<PACKED>,
    memoized: usize,
    texts: Spool,
    text_count: usize,
    dicts: Vec<Vec<(Value, Value)>>,
    /// `id_to_label` and `label_to_id`, each with the number of its dict.
    maps: [Option<(u32, Map)>; 2],
    /// The dict that BUILD gave to the object.
    state: Option<u32>,
    small: usize,
    /// Some entries of `id_to_seq_id`.
    changes: Vec<(String, i64)>,
    /// Why the scratch space failed.
    scratch: Option<io::Error>,
}

impl<R: Read> Machine<R> {
    fn new(input: R, len: u64) -> Self {
        Self {
            input,
            position: 0,
            len,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Column::default(),
            memoized: 0,
            texts: Spool::new(HELD_BYTES),
            text_count: 0,
            dicts: Vec::new(),
            maps: [None, None],
            state: None,
            small: 0,
            changes: Vec::new(),
            scratch: None,
        }
    }

    /// Keeps a failure of the scratch space apart from what is wrong with the file.
    fn kept<T>(&mut self, result: io::Result<T>) -> Result<T, String> {
        result.map_err(|error| {
            let what = error.to_string();
            self.scratch.get_or_insert(error);
            what
        })
    }

    /// One opcode; Some is the pickled value.
    fn step(&mut self) -> Result<Option<Value>, String> {
        if self.stack.len() > MAX_STACK {
            return Err("it holds more values at once than Chroma writes".to_owned());
        }
        let [code] = self.bytes::<1>()?;
        match code {
            0x80 => self.protocol()?,
            0x95 => self.bytes::<8>().map(|_| ())?, // a frame: only a hint for reading ahead
            b'(' => self.mark()?,
            b'}' => self.dict()?,
            b')' => self.push_small(Value::Tuple)?,
            b'N' => self.push_small(Value::None)?,
            b'K' => self.bytes().map(|[b]| self.stack.push(Value::Int(i64::from(b))))?,
            b'M' => self.bytes().map(|b| self.stack.push(Value::Int(i64::from(u16::from_le_bytes(b)))))?,
            b'J' => self.bytes().map(|b| self.stack.push(Value::Int(i64::from(i32::from_le_bytes(b)))))?,
            0x8a => self.long()?,
            b'G' => self.bytes::<8>().map(|_| self.stack.push(Value::Other))?,
            0x88 | 0x89 => self.stack.push(Value::Other),
            0x8c => self.bytes().map(|[n]| u64::from(n)).and_then(|n| self.string(n))?,
            b'X' => self.bytes().map(|b| u64::from(u32::from_le_bytes(b))).and_then(|n| self.string(n))?,
            0x8d => self.bytes().map(u64::from_le_bytes).and_then(|n| self.string(n))?,
            0x94 => self.remember(None)?,
            b'q' => self.bytes().map(|[n]| u32::from(n)).and_then(|n| self.remember(Some(n)))?,
            b'r' => self.bytes().map(u32::from_le_bytes).and_then(|n| self.remember(Some(n)))?,
            b'h' => self.bytes().map(|[n]| u32::from(n)).and_then(|n| self.recall(n))?,
            b'j' => self.bytes().map(u32::from_le_bytes).and_then(|n| self.recall(n))?,
            b's' => self.set_item()?,
            b'u' => self.set_items()?,
            b'c' => self.global()?,
            0x93 => self.stack_global()?,
            0x81 => self.new_object()?,
            b'b' => self.build()?,
            b'.' => return self.pop().map(Some),
            other => return Err(format!("it holds the pickle opcode 0x{other:02x}, which Chroma never writes there,")),
        }
        Ok(None)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|e| format!("it ends too early ({e})"))?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn pop(&mut self) -> Result<Value, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("a value is missing".to_owned());
        }
        self.stack.pop().ok_or_else(|| "a value is missing".to_owned())
    }

    fn protocol(&mut self) -> Result<(), String> {
        match self.bytes()? {
            [2..=5] => Ok(()),
            [other] => Err(format!("it has pickle protocol {other}, Chroma writes 2 to 5,")),
        }
    }

    fn count_small(&mut self) -> Result<(), String> {
        self.small += 1;
        if self.small > MAX_SMALL { Err("it has more parts than Chroma writes".to_owned()) } else { Ok(()) }
    }

    fn push_small(&mut self, value: Value) -> Result<(), String> {
        self.count_small()?;
        self.stack.push(value);
        Ok(())
    }

    fn mark(&mut self) -> Result<(), String> {
        // Python sets items in groups of a thousand, each behind a mark, so marks are bounded by depth and not by number.
        if self.marks.len() >= MAX_SMALL {
            return Err("it is nested deeper than Chroma writes".to_owned());
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn dict(&mut self) -> Result<(), String> {
        let number = u32::try_from(self.dicts.len()).map_err(|e| e.to_string())?;
        self.push_small(Value::Dict(number))?;
        self.dicts.push(Vec::new());
        Ok(())
    }

    fn long(&mut self) -> Result<(), String> {
        let [len] = self.bytes()?;
        let mut bytes = [0u8; 255];
        let target = bytes.get_mut(..usize::from(len)).unwrap_or_default();
        self.input.read_exact(target).map_err(|e| format!("it ends too early ({e})"))?;
        self.position += u64::from(len);
        self.stack.push(Value::long(target));
        Ok(())
    }

    fn string(&mut self, len: u64) -> Result<(), String> {
        let left = self.len.saturating_sub(self.position);
        if len > left {
            return Err(format!("it has a text of {len} bytes where {left} are left"));
        }
        let mut text = String::new();
        let read = (&mut self.input).take(len).read_to_string(&mut text);
        let read = read.map_err(|e| format!("it has a text that cannot be read ({e})"))?;
        if read as u64 != len || text.len() != read {
            return Err("it ends within a text".to_owned());
        }
        self.position += len;
        let (start, len) = (self.texts.len(), u32::try_from(len).map_err(|e| e.to_string())?);
        let added = self.texts.append(text.as_bytes());
        self.kept(added)?;
        self.text_count += 1;
        self.stack.push(Value::Text { start, len });
        Ok(())
    }

    fn remember(&mut self, place: Option<u32>) -> Result<(), String> {
        // A memo entry without a value of its own would let one byte of input take thirteen of scratch space.
        if self.memoized > self.text_count + self.small {
            return Err("it memoizes more than it holds".to_owned());
        }
        match place {
            Some(n) if n as usize != self.memoized => Err(format!("it memoizes out of order (place {n})")),
            _ => {
                let set = self.memo.set(self.memoized, self.stack.last().ok_or("it memoizes nothing")?.pack());
                self.kept(set)?;
                self.memoized += 1;
                Ok(())
            }
        }
    }

    fn recall(&mut self, place: u32) -> Result<(), String> {
        let packed = self.memo.get(place as usize);
        let value = Value::unpack(self.kept(packed)?).filter(|_| (place as usize) < self.memoized);
        self.stack.push(value.ok_or_else(|| format!("it recalls place {place}, never filled,"))?);
        Ok(())
    }

    fn set_item(&mut self) -> Result<(), String> {
        let value = self.pop()?;
        let key = self.pop()?;
        self.store(&[key, value])
    }

    fn set_items(&mut self) -> Result<(), String> {
        let floor = self.marks.pop().ok_or("items without a mark")?;
        if floor > self.stack.len() {
            return Err("items below their mark".to_owned());
        }
        let items = self.stack.split_off(floor);
        self.store(&items)
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        loop {
            match self.bytes()? {
                [b'\n'] => return String::from_utf8(line).map_err(|e| e.to_string()),
                [byte] if line.len() < 200 => line.push(byte),
                _ => return Err("it names a class of over 200 bytes".to_owned()),
            }
        }
    }

    fn global(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        self.class(&module, &name)
    }

    fn stack_global(&mut self) -> Result<(), String> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Value::Text { .. }, Value::Text { .. }) = (name, module) else {
            return Err("it names a class by what is no text".to_owned());
        };
        let (module, name) = (self.text(module)?, self.text(name)?);
        self.class(&module, &name)
    }

    fn class(&mut self, module: &str, name: &str) -> Result<(), String> {
        if (module, name) != CLASS {
            return Err(format!("it is foreign: it asks for {module:?}.{name:?}, which was not executed,"));
        }
        self.push_small(Value::Class)
    }

    fn new_object(&mut self) -> Result<(), String> {
        match (self.pop()?, self.pop()?) {
            (Value::Tuple, Value::Class) => self.push_small(Value::Object),
            _ => Err("it builds what Chroma never writes".to_owned()),
        }
    }

    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        match (state, self.stack.last(), self.state) {
            (Value::Dict(number), Some(Value::Object), None) => {
                self.state = Some(number);
                Ok(())
            }
            _ => Err("it builds what Chroma never writes".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As 1.5.9 wrote it for a collection that was emptied.
    const EMPTY: &[u8] =
        b"\x80\x03}(X\x0e\0\0\0dimensionalityNX\x14\0\0\0total_elements_addedJ$\0\0\0X\n\0\0\0max_seq_idN\
        X\x0b\0\0\0id_to_label}X\x0b\0\0\0label_to_id}X\x0c\0\0\0id_to_seq_id}u.";
    /// As 1.x writes two records.
    const DICT: &[u8] = b"\x80\x03}(X\x0e\0\0\0dimensionalityNX\n\0\0\0max_seq_idNX\x0b\0\0\0id_to_label}(\
        X\x03\0\0\0id1J\x02\0\0\0X\x07\0\0\0\xf0\x9f\x98\x80\n\"xJ\x15\0\0\0uX\x0b\0\0\0label_to_id}(\
        J\x02\0\0\0X\x03\0\0\0id1J\x15\0\0\0X\x07\0\0\0\xf0\x9f\x98\x80\n\"xuX\x0c\0\0\0id_to_seq_id}u.";
    /// As Python pickles two records for 0.4.24 (cut down from a file that it wrote).
    const OBJECT: &[u8] = b"\x80\x05\x95\xf1\0\0\0\0\0\0\0\x8c2chromadb.segment.impl.vector.local_persistent_hnsw\x94\
        \x8c\x0ePersistentData\x94\x93\x94)\x81\x94}\x94(\x8c\x0edimensionality\x94K\x03\x8c\nmax_seq_id\x94M.\x13\
        \x8c\x0bid_to_label\x94}\x94(\x8c\x03id6\x94K\x06\x8c\x04nomd\x94K#u\x8c\x0blabel_to_id\x94}\x94(K\x06h\x09\
        K#h\x0au\x8c\x0cid_to_seq_id\x94}\x94(h\x09M+\x13h\x0a\x8a\x05\xff\xff\xff\xff\x7fuub.";

    fn read(bytes: &[u8]) -> Result<IndexMetadata, String> {
        parse(bytes, bytes.len() as u64).unwrap()
    }

    fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = bytes.windows(from.len()).position(|w| w == from).expect("the piece is there");
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    }

    #[test]
    fn the_dict_of_1_x_is_read() {
        let found = read(DICT).unwrap();
        let mut walk = found.labels.walk();
        assert_eq!(walk.next().unwrap(), Some((b"id1".as_slice(), Some(2))));
        assert_eq!(walk.next().unwrap(), Some(("😀\n\"x".as_bytes(), Some(21))));
        assert_eq!(walk.next().unwrap(), None);
        assert_eq!((found.dimension, found.max_seq_id), (None, None));
        assert!(read(EMPTY).unwrap().labels.is_empty());
    }

    #[test]
    fn the_object_of_0_4_is_read() {
        let found = read(OBJECT).unwrap();
        assert_eq!((found.labels.get("id6").unwrap(), found.labels.get("nomd").unwrap()), (Some(6), Some(35)));
        assert_eq!((found.dimension, found.max_seq_id, found.labels.len()), (Some(3), Some(4910), 2));
    }

    #[test]
    fn a_foreign_class_or_call_is_named_and_never_made() {
        let system = b"\x80\x03cposix\nsystem\n(X\x04\0\0\0trueuR.";
        let why = read(system).unwrap_err();
        assert!(why.contains("\"posix\".\"system\"") && why.contains("not executed"), "{why}");
        let call = replaced(OBJECT, b")\x81\x94", b")R\x94");
        assert!(read(&call).unwrap_err().contains("opcode 0x52"));
    }

    /// One entry that contradicts another cost the whole index.
    #[test]
    fn maps_that_contradict_each_other_cost_the_ids_that_they_contradict_each_other_about() {
        let label = |bytes: &[u8], id: &str| read(bytes).unwrap().labels.get(id).unwrap();
        let other = replaced(OBJECT, b"(K\x06h\x09", b"(K\x07h\x09");
        assert_eq!((label(&other, "id6"), label(&other, "nomd")), (None, Some(35)));
        assert!(read(&other).unwrap().flawed.unwrap().contains("one label for 1 id of 2 (the first is \"id6\")"));
        let twice = replaced(DICT, b"J\x15\0\0\0uX\x0b\0\0\0label", b"J\x02\0\0\0uX\x0b\0\0\0label");
        assert_eq!((label(&twice, "id1"), label(&twice, "😀\n\"x")), (None, None));
        let of_both = replaced(&twice, b"J\x15\0\0\0X\x07", b"J\x02\0\0\0X\x07");
        assert!(read(&of_both).unwrap().flawed.unwrap().contains("2 ids of 2"));
        let same = replaced(OBJECT, b"\x8c\x04nomd", b"\x8c\x03id6");
        assert_eq!((label(&same, "id6"), read(&same).unwrap().labels.len()), (None, 1));
        let fewer = replaced(DICT, b"J\x15\0\0\0X\x07\0\0\0\xf0\x9f\x98\x80\n\"xuX\x0c", b"uX\x0c");
        assert_eq!((label(&fewer, "id1"), label(&fewer, "😀\n\"x")), (Some(2), None));
        assert_eq!(read(&fewer).unwrap().labels.certain(), 1);
    }

    #[test]
    fn an_odd_label_costs_its_id_and_no_other() {
        let odd: [&[u8]; 6] = [
            b"J\xff\xff\xff\xff",            // -1
            b"\x8a\x09\0\0\0\0\0\0\0\0\x01", // 2^64
            b"\x8a\x05\0\0\0\0\x01",         // 2^32
            b"X\x01\0\0\0a",
            b"G\x40\0\0\0\0\0\0\0", // 2.0
            b"\x88",                // True
        ];
        for odd in odd {
            let bytes = replaced(DICT, b"id1J\x02\0\0\0", &[b"id1".as_slice(), odd].concat());
            let found = read(&bytes).unwrap();
            assert_eq!((found.labels.get("id1").unwrap(), found.labels.certain()), (None, 1), "{odd:?}");
            assert!(found.flawed.unwrap().contains("one label for 1 id of 2"), "{odd:?}");
        }
        // an id that is no text, and a number that is none
        let nameless = replaced(DICT, b"X\x03\0\0\0id1J\x02", b"J\x09\0\0\0J\x02");
        assert!(read(&nameless).unwrap().flawed.unwrap().contains("1 of its ids are no text"));
        let odd = replaced(DICT, b"dimensionalityN", b"dimensionalityX\x01\0\0\0a");
        let found = read(&odd).unwrap();
        assert_eq!((found.dimension, found.labels.certain()), (None, 2));
        assert_eq!(found.flawed.as_deref(), Some("its dimensionality is no integer"));
    }

    #[test]
    fn the_changes_that_an_older_index_took_are_kept() {
        let found = read(OBJECT).unwrap();
        assert_eq!(found.changes, [("id6".to_owned(), 4907), ("nomd".to_owned(), 549_755_813_887)]);
        assert!(read(DICT).unwrap().changes.is_empty() && found.flawed.is_none());
    }

    #[test]
    fn a_cut_file_says_where() {
        for end in 0..OBJECT.len() - 1 {
            assert!(read(&OBJECT[..end]).is_err(), "cut at {end}");
        }
        let why = read(&DICT[..40]).unwrap_err();
        assert!(why.contains("of 40"), "{why}");
    }

    /// A text of 4 GiB in a file of 12 bytes must not be allocated.
    #[test]
    fn a_length_beyond_the_file_is_refused() {
        let why = read(b"\x80\x03}X\xff\xff\xff\xffabc").unwrap_err();
        assert!(why.contains("4294967295 bytes where 3 are left"), "{why}");
        let nones = [b"\x80\x03".as_slice(), &[b'N'; 1000]].concat();
        assert!(read(&nones).unwrap_err().contains("more parts"));
        let memos = [b"\x80\x03N".as_slice(), &[0x94; 1000]].concat();
        assert!(read(&memos).unwrap_err().contains("memoizes more"));
        let many = [b"\x80\x03".as_slice(), &vec![b'K'; 1 << 16]].concat();
        assert!(read(&many).unwrap_err().contains("more values at once"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(read(&bytes));
        }

        #[test]
        fn no_mutation_makes_it_panic(at in 0usize..300, byte in any::<u8>(), object in any::<bool>()) {
            let mut bytes = if object { OBJECT } else { DICT }.to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            drop(read(&bytes));
        }
    }
}
