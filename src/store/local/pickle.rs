//! `index_metadata.pickle`: a dict (Chroma 1.x) or a `PersistentData` object (up to 0.6), and nothing else of pickle.
//! Never imports, calls or builds anything; every opcode outside the few that Chroma writes is an error.

use std::io::{BufRead, Read};

use super::labels::Labels;

/// The class whose attributes Chroma pickled up to 0.6.
const CLASS: (&str, &str) = ("chromadb.segment.impl.vector.local_persistent_hnsw", "PersistentData");
/// Values that one byte of input makes (None, a dict, a tuple, a class). Chroma writes fewer than ten; the bound keeps
/// memory in proportion to the file.
const MAX_SMALL: usize = 64;

/// Which ids a collection's HNSW index holds, and how far it has followed the write-ahead log.
#[derive(Debug)]
pub struct IndexMetadata {
    /// Components of a vector; 1.x writes None.
    pub dimension: Option<i64>,
    /// The last `seq_id` that the index holds; only 0.4 keeps it here.
    pub max_seq_id: Option<i64>,
    /// Ids and their labels.
    pub labels: Labels,
}

/// Reads the file's content.
///
/// # Errors
/// A sentence that says what is wrong and at which byte.
pub fn parse(input: impl BufRead, len: u64) -> Result<IndexMetadata, String> {
    let mut machine = Machine::new(input, len);
    let root = loop {
        let at = machine.position;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => break root,
            Err(what) => return Err(format!("{what} at byte {at} of {len}")),
        }
    };
    machine.finish(root)
}

/// A pickled value. Texts and dicts are kept beside, so that this stays 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    None,
    Int(i64),
    Text(u32),
    Dict(u32),
    Tuple,
    Class,
    Object,
}

struct Machine<R> {
    input: R,
    position: u64,
    len: u64,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: Vec<Value>,
    text: String,
    ends: Vec<usize>,
    dicts: Vec<Vec<(Value, Value)>>,
    /// The dict that BUILD gave to the object.
    state: Option<u32>,
    small: usize,
}

impl<R: Read> Machine<R> {
    fn new(input: R, len: u64) -> Self {
        Self {
            input,
            position: 0,
            len,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            text: String::new(),
            ends: Vec::new(),
            dicts: Vec::new(),
            state: None,
            small: 0,
        }
    }

    /// One opcode; Some is the pickled value.
    fn step(&mut self) -> Result<Option<Value>, String> {
        let [code] = self.bytes::<1>()?;
        match code {
            0x80 => self.protocol()?,
            // A frame is only a hint for reading ahead.
            0x95 => self.bytes::<8>().map(|_| ())?,
            b'(' => self.mark()?,
            b'}' => self.dict()?,
            b')' => self.push_small(Value::Tuple)?,
            b'N' => self.push_small(Value::None)?,
            b'K' => self.bytes().map(|[b]| self.stack.push(Value::Int(i64::from(b))))?,
            b'M' => self.bytes().map(|b| self.stack.push(Value::Int(i64::from(u16::from_le_bytes(b)))))?,
            b'J' => self.bytes().map(|b| self.stack.push(Value::Int(i64::from(i32::from_le_bytes(b)))))?,
            0x8a => self.long()?,
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
        let mut bytes = [0u8; 8];
        let target = bytes.get_mut(..usize::from(len)).ok_or("it holds an integer of more than 8 bytes")?;
        self.input.read_exact(target).map_err(|e| format!("it ends too early ({e})"))?;
        self.position += u64::from(len);
        if len > 0 && target.last().is_some_and(|b| b & 0x80 != 0) {
            bytes.iter_mut().skip(usize::from(len)).for_each(|b| *b = 0xff);
        }
        self.stack.push(Value::Int(i64::from_le_bytes(bytes)));
        Ok(())
    }

    fn string(&mut self, len: u64) -> Result<(), String> {
        let left = self.len.saturating_sub(self.position);
        if len > left {
            return Err(format!("it has a text of {len} bytes where {left} are left"));
        }
        let before = self.text.len();
        let read = (&mut self.input).take(len).read_to_string(&mut self.text);
        let read = read.map_err(|e| format!("it has a text that cannot be read ({e})"))?;
        if read as u64 != len || self.text.len() != before + read {
            return Err("it ends within a text".to_owned());
        }
        self.position += len;
        let number = u32::try_from(self.ends.len()).map_err(|_| "it holds more texts than can be counted")?;
        self.ends.push(self.text.len());
        self.stack.push(Value::Text(number));
        Ok(())
    }

    fn remember(&mut self, place: Option<u32>) -> Result<(), String> {
        let value = *self.stack.last().ok_or("it memoizes nothing")?;
        // A memo entry without a value of its own would let one byte of input take sixteen of memory.
        if self.memo.len() > self.ends.len() + self.small {
            return Err("it memoizes more than it holds".to_owned());
        }
        match place {
            Some(n) if n as usize != self.memo.len() => Err(format!("it memoizes out of order (place {n})")),
            _ => {
                self.memo.push(value);
                Ok(())
            }
        }
    }

    fn recall(&mut self, place: u32) -> Result<(), String> {
        let value = self.memo.get(place as usize).ok_or_else(|| format!("it recalls place {place}, never filled,"))?;
        self.stack.push(*value);
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

    fn store(&mut self, items: &[Value]) -> Result<(), String> {
        let Some(Value::Dict(number)) = self.stack.last() else {
            return Err("items are set on what is no dict".to_owned());
        };
        if !items.len().is_multiple_of(2) {
            return Err("a key has no value".to_owned());
        }
        // The third map is not needed, and is as large as the others.
        let owner = self.stack.len().checked_sub(2).and_then(|n| self.stack.get(n));
        if matches!(owner, Some(Value::Text(name)) if text_of(&self.text, &self.ends, *name) == "id_to_seq_id") {
            return Ok(());
        }
        let dict = self.dicts.get_mut(*number as usize).ok_or("an unknown dict")?;
        dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
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
        let (Value::Text(name), Value::Text(module)) = (name, module) else {
            return Err("it names a class by what is no text".to_owned());
        };
        let (module, name) = (self.text(module).to_owned(), self.text(name).to_owned());
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

    fn text(&self, number: u32) -> &str {
        text_of(&self.text, &self.ends, number)
    }
}

fn text_of<'a>(text: &'a str, ends: &[usize], number: u32) -> &'a str {
    let number = number as usize;
    let start = number.checked_sub(1).and_then(|n| ends.get(n)).copied().unwrap_or(0);
    ends.get(number).and_then(|end| text.get(start..*end)).unwrap_or_default()
}

impl<R: Read> Machine<R> {
    /// Takes the known attributes out of the root, and checks both maps against each other.
    fn finish(self, root: Value) -> Result<IndexMetadata, String> {
        let ((Value::Dict(number), None) | (Value::Object, Some(number))) = (root, self.state) else {
            return Err("it holds neither a dict nor a PersistentData object".to_owned());
        };
        let attribute = |name: &str| {
            let dict = self.dicts.get(number as usize)?;
            dict.iter().rev().find(|(key, _)| matches!(key, Value::Text(n) if self.text(*n) == name)).map(|(_, v)| *v)
        };
        let integer = |name: &str| match attribute(name) {
            None | Some(Value::None) => Ok(None),
            Some(Value::Int(n)) => Ok(Some(n)),
            Some(_) => Err(format!("its {name} is no integer")),
        };
        let map = |name: &str| match attribute(name) {
            Some(Value::Dict(n)) => self.dicts.get(n as usize).ok_or_else(|| format!("its {name} is missing")),
            _ => Err(format!("its {name} is missing")),
        };
        let labels = self.labels(map("id_to_label")?, map("label_to_id")?)?;
        Ok(IndexMetadata { dimension: integer("dimensionality")?, max_seq_id: integer("max_seq_id")?, labels })
    }

    fn labels(&self, forward: &[(Value, Value)], backward: &[(Value, Value)]) -> Result<Labels, String> {
        let pair = |text: Value, label: Value| match (text, label) {
            (Value::Text(text), Value::Int(label)) => {
                u32::try_from(label).map(|label| (text, label)).map_err(|_| format!("label {label} is out of range"))
            }
            _ => Err("its maps hold other things than ids and labels".to_owned()),
        };
        let mut by_id = forward.iter().map(|(id, label)| pair(*id, *label)).collect::<Result<Vec<_>, _>>()?;
        let mut by_label = backward.iter().map(|(label, id)| pair(*id, *label)).collect::<Result<Vec<_>, _>>()?;
        if by_id.len() != by_label.len() {
            return Err(format!("it maps {} ids to labels but {} labels to ids", by_id.len(), by_label.len()));
        }
        by_id.sort_unstable_by_key(|(_, label)| *label);
        by_label.sort_unstable_by_key(|(_, label)| *label);
        for ((id, label), (other, back)) in by_id.iter().zip(&by_label) {
            if label != back || (id != other && self.text(*id) != self.text(*other)) {
                return Err(format!("its maps contradict each other at label {label}"));
            }
        }
        if let Some(twice) = by_id.windows(2).find(|pair| pair[0].1 == pair[1].1) {
            return Err(format!("it gives label {} to two ids", twice[0].1));
        }
        by_id.sort_unstable_by(|a, b| self.text(a.0).cmp(self.text(b.0)));
        if let Some(twice) = by_id.windows(2).find(|pair| self.text(pair[0].0) == self.text(pair[1].0)) {
            return Err(format!("it holds the id {:?} twice", self.text(twice[0].0)));
        }
        by_id
            .iter()
            .map(|(id, label)| (self.text(*id), *label))
            .try_fold(Labels::default(), |labels, (id, label)| labels.with(id, label))
            .ok_or_else(|| "it holds an id of over 4 GiB".to_owned())
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
        parse(bytes, bytes.len() as u64)
    }

    fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = bytes.windows(from.len()).position(|w| w == from).expect("the piece is there");
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    }

    #[test]
    fn the_dict_of_1_x_is_read() {
        let found = read(DICT).unwrap();
        let labels: Vec<_> = found.labels.iter().map(|(id, label)| (id.to_owned(), label)).collect();
        assert_eq!(labels, [("id1".to_owned(), 2), ("😀\n\"x".to_owned(), 21)]);
        assert_eq!((found.dimension, found.max_seq_id), (None, None));
        assert!(read(EMPTY).unwrap().labels.is_empty());
    }

    #[test]
    fn the_object_of_0_4_is_read() {
        let found = read(OBJECT).unwrap();
        assert_eq!((found.labels.get("id6"), found.labels.get("nomd")), (Some(6), Some(35)));
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

    #[test]
    fn maps_that_contradict_each_other_are_refused() {
        let other = replaced(OBJECT, b"(K\x06h\x09", b"(K\x07h\x09");
        assert!(read(&other).unwrap_err().contains("contradict each other at label 6"));
        let twice = replaced(DICT, b"J\x15\0\0\0uX\x0b\0\0\0label", b"J\x02\0\0\0uX\x0b\0\0\0label");
        assert!(read(&twice).is_err());
    }

    #[test]
    fn a_cut_file_says_where() {
        for end in 0..OBJECT.len() - 1 {
            assert!(parse(&OBJECT[..end], end as u64).is_err(), "cut at {end}");
        }
        let why = parse(&DICT[..40], 40).unwrap_err();
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
