//! The files of a collection's HNSW folder: header, rows and lengths, from any `Read + Seek`, row by row.
//! Opens no file. The layout was measured on 0.4.24 to 1.5.9; offsets are in bytes, numbers little-endian.

use std::io::{Read, Seek, SeekFrom};

use crate::model::vector;
use crate::store::files::system::flaw;

/// Bytes of `header.bin`.
pub const HEADER_LEN: usize = 100;
/// The byte of a row whose lowest bit says "deleted".
const FLAG_OFFSET: usize = 2;
/// Rows are scanned in blocks of about this many bytes.
const BLOCK: u64 = 1 << 20;
/// Bytes of the longest row that is read: four million components, far more than any Chroma takes. A row is held as a whole.
const ROW: u64 = 16 << 20;
/// Rows that are tried on a failing medium: each may take seconds.
const FAILING: u64 = 1000;

/// How rows lie in `data_level0.bin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Rows in use.
    pub count: u64,
    /// Bytes of one row.
    pub row_len: u64,
    /// Where the label is in a row.
    pub label_offset: u64,
    /// Where the vector is in a row.
    pub data_offset: u64,
    /// Components of a vector.
    pub dimension: u32,
}

/// One row of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its place in `data_level0.bin`, from 0.
    pub number: u32,
    /// The label, which `index_metadata.pickle` maps to an id.
    pub label: u64,
    /// Whether Chroma has deleted it.
    pub deleted: bool,
}

/// Parses `header.bin`. Takes what hnswlib takes: it reads no byte after these, and has no use for the capacity and the
/// numbers of links where it only reads (by its source).
///
/// # Errors
/// A sentence that says which numbers contradict each other.
pub fn header(bytes: &[u8]) -> Result<Header, String> {
    let short = || format!("it has {} bytes, a header has {HEADER_LEN}", bytes.len());
    let long = |at: usize| {
        let field = bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        field.ok_or_else(short)
    };
    let version = bytes.get(..4).and_then(|b| b.try_into().ok()).map(i32::from_le_bytes);
    match version.filter(|_| bytes.len() >= HEADER_LEN) {
        None => return Err(short()),
        Some(1) => {}
        Some(other) => return Err(format!("its version is {other}, only 1 is known")),
    }
    let (level0, count, row_len, label_offset, data_offset) = (long(4)?, long(20)?, long(28)?, long(36)?, long(44)?);
    let vector_len = label_offset.checked_sub(data_offset).filter(|len| len % 4 == 0 && *len > 0);
    let dimension = vector_len.and_then(|len| u32::try_from(len / 4).ok());
    let sound = level0 == 0
        && u32::try_from(count).is_ok()
        && label_offset.checked_add(8) == Some(row_len)
        && row_len <= ROW
        && data_offset > FLAG_OFFSET as u64;
    match dimension {
        Some(dimension) if sound => Ok(Header { count, row_len, label_offset, data_offset, dimension }),
        _ => Err(format!(
            "its numbers contradict each other (start {level0}, {count} rows, {row_len} bytes a row, vector at \
             {data_offset}, label at {label_offset})"
        )),
    }
}

impl Header {
    /// The layout that these settings make: links of the lowest level, vector and label one behind the other (measured on
    /// 0.4.24 to 1.5.9). None where no row would have such a length.
    #[must_use]
    pub fn of(dimension: u32, neighbours: u32, count: u64) -> Option<Self> {
        let data_offset = 4 + u64::from(neighbours) * 8;
        let label_offset = data_offset + u64::from(dimension) * 4;
        let row_len = label_offset + 8;
        let fits = dimension > 0 && neighbours > 0 && row_len <= ROW && u32::try_from(count).is_ok();
        fits.then_some(Self { count, row_len, label_offset, data_offset, dimension })
    }

    /// Bytes that `data_level0.bin` must have at least.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.count.saturating_mul(self.row_len)
    }

    fn split(&self, number: u64, row: &[u8]) -> Option<Row> {
        let at = usize::try_from(self.label_offset).ok()?;
        let label = row.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)?;
        let deleted = row.get(FLAG_OFFSET)? & 1 != 0;
        Some(Row { number: u32::try_from(number).ok()?, label, deleted })
    }

    /// The bytes of a row's vector.
    fn vector<'r>(&self, row: &'r [u8]) -> Option<&'r [u8]> {
        let start = usize::try_from(self.data_offset).ok()?;
        row.get(start..start.checked_add((self.dimension as usize).checked_mul(4)?)?)
    }
}

/// Rows that cannot be read, for their medium fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many.
    pub count: u64,
    /// What the system says of the first.
    pub why: String,
}

/// Reads every row, in the order of the file, and hands each to `take` with the square of its vector's length. Where the
/// medium fails, the rows of that block are read one by one; after `FAILING` of them the rest is lost, too.
///
/// # Errors
/// When the file ends before the header's count, or cannot be read for a reason that lies not in the file.
pub fn rows<R: Read + Seek>(data: &mut R, header: &Header, mut take: impl FnMut(Row, f64)) -> std::io::Result<Lost> {
    let per_block = (BLOCK / header.row_len.max(1)).clamp(1, header.count.max(1));
    let row_len = usize::try_from(header.row_len).map_err(std::io::Error::other)?;
    let block_len = usize::try_from(per_block.saturating_mul(header.row_len)).map_err(std::io::Error::other)?;
    let (mut block, mut floats) = (vec![0; block_len], Vec::new());
    let (mut number, mut careful_until, mut lost) = (0, 0, Lost::default());
    while number < header.count {
        let at_once = if number < careful_until { 1 } else { per_block };
        let now = (header.count - number).min(at_once);
        let filled = usize::try_from(now).ok().and_then(|now| block.get_mut(..now * row_len)).unwrap_or_default();
        let at = SeekFrom::Start(number.saturating_mul(header.row_len));
        if let Err(error) = data.seek(at).and_then(|_| data.read_exact(filled)) {
            let Some(why) = flaw(&error) else { return Err(error) };
            if now > 1 {
                careful_until = number + now;
                continue;
            }
            lost = Lost { count: lost.count + 1, why: if lost.count == 0 { why } else { lost.why } };
            number += 1;
            if lost.count >= FAILING {
                lost.count += header.count - number;
                return Ok(lost);
            }
            continue;
        }
        for row in filled.chunks_exact(row_len) {
            if let Some((found, bytes)) = header.split(number, row).zip(header.vector(row)) {
                floats.clear();
                floats.extend(self::floats(bytes));
                take(found, vector::square(&floats));
            }
            number += 1;
        }
    }
    Ok(lost)
}

/// Parses one row's bytes, with its vector as stored (of unit length in a cosine index); None where they are too few.
#[must_use]
pub fn row(header: &Header, number: u32, bytes: &[u8]) -> Option<(Row, Vec<f32>)> {
    Some((header.split(u64::from(number), bytes)?, floats(header.vector(bytes)?).collect()))
}

/// `length.bin`: the norm of each row's original vector, which only a cosine index fills. Read forwards, row by row.
#[derive(Debug)]
pub struct Norms<R> {
    file: R,
    next: u32,
}

impl<R: Read> Norms<R> {
    /// From the start of the file.
    pub const fn new(file: R) -> Self {
        Self { file, next: 0 }
    }

    /// The norm of a row, which is not before the last one that was asked for.
    ///
    /// # Errors
    /// When the file ends, or cannot be read.
    pub fn of(&mut self, row: u32) -> std::io::Result<f32> {
        let mut bytes = [0; 4];
        loop {
            self.file.read_exact(&mut bytes)?;
            let at = self.next;
            self.next += 1;
            if at >= row {
                return Ok(f32::from_le_bytes(bytes));
            }
        }
    }
}

/// Little-endian floats, as the rows and the write-ahead log hold them.
pub fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))
}

/// What the rows of an index say of its distance. A cosine index keeps unit vectors, with their norms in `length.bin`, and
/// a zero vector as such; in every other index `length.bin` holds whatever was in memory (measured on 0.4.24 to 1.5.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Rows that are not deleted.
    pub rows: u64,
    /// Rows that no cosine index could hold.
    pub foreign: u64,
    /// Rows that are neither of unit length nor zero: in a cosine index vectors whose squares leave the range of f32.
    pub long: u64,
    /// Unit rows whose norm is none: in a cosine index these are not the norms of its rows.
    pub unnormed: u64,
    /// Unit rows whose norm is not 1, which nothing but cosine makes.
    pub scaled: u64,
}

/// A distance that the rows of an index speak against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Whether the rows are those of a cosine index.
    pub cosine: bool,
    /// Rows that say so.
    pub rows: u64,
    /// All rows.
    pub of: u64,
}

impl Doubt {
    /// Whether most rows say so.
    #[must_use]
    pub const fn is_clear(&self) -> bool {
        self.rows.saturating_mul(2) > self.of
    }

    /// It, in words.
    #[must_use]
    pub fn spoken(self) -> String {
        let rows = format!("{} of {} rows of its index", self.rows, self.of);
        if self.cosine {
            format!("{rows} are unit vectors with their lengths apart, as only cosine makes them")
        } else {
            format!("{rows} are not what cosine makes")
        }
    }
}

impl Evidence {
    /// Takes a row by the square of its length and its norm.
    pub fn take(&mut self, square: f64, norm: f32) {
        self.rows += 1;
        let is_unit = (0.99..1.01).contains(&square);
        // no sum of squares has so small a root that it is no normal number
        let has_norm = norm.is_normal() && norm > 0.0;
        // below and above, squares leave the range of f32: the engine itself breaks such vectors
        let is_ordinary = norm > 1e-15 && norm < 1e15;
        let is_foreign = (is_unit && !has_norm) || (norm == 0.0 && square > 0.0) || norm < 0.0;
        let is_long = square > 0.0 && !is_unit;
        self.foreign += u64::from(is_foreign || (is_ordinary && is_long) || norm.is_nan());
        self.long += u64::from(is_long);
        self.unnormed += u64::from(is_unit && !has_norm);
        self.scaled += u64::from(is_unit && is_ordinary && (norm - 1.0).abs() > 1e-3);
    }

    /// What speaks against a distance: more than one row in a hundred, and at least two.
    #[must_use]
    pub fn doubt(&self, cosine: bool) -> Option<Doubt> {
        let of = self.rows;
        let many = |rows: u64| rows >= 2 && rows.saturating_mul(100) > of;
        if cosine {
            let rows = if self.long.saturating_mul(2) > of { self.foreign.max(self.long) } else { self.foreign };
            return many(rows).then_some(Doubt { cosine: false, rows, of });
        }
        // one row that no cosine index could hold makes it another's
        (self.foreign == 0 && many(self.scaled)).then_some(Doubt { cosine: true, rows: of, of })
    }
}

/// The original vector of a cosine row: unit x norm, as Chroma's own get makes it.
///
/// # Errors
/// When the row is not of unit length, so that it cannot come from a cosine index.
pub fn with_norm(unit: &mut [f32], norm: f32) -> Result<(), String> {
    let square = vector::square(unit);
    // Chroma adds 1e-30 to the norm and squares in f32: tiny vectors lose their unit length there, as they do in its get.
    if norm > 1e-15 && norm < 1e15 && square > 0.0 && !(0.99..1.01).contains(&square) {
        return Err(format!("its row has length {:.3} where cosine rows have 1", square.sqrt()));
    }
    for x in unit.iter_mut() {
        *x *= norm;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    const LINKS: u64 = 2;

    fn file(dimension: u64, rows: &[(u64, bool, Vec<f32>)]) -> (Vec<u8>, Vec<u8>) {
        let data_offset = LINKS * 4 + 4;
        let label_offset = data_offset + dimension * 4;
        let count = rows.len() as u64;
        let mut header = 1i32.to_le_bytes().to_vec();
        for n in [0, count + 3, count, label_offset + 8, label_offset, data_offset] {
            header.extend(n.to_le_bytes());
        }
        header.extend([0; 8]);
        for n in [1, LINKS, 1, 0, 100] {
            header.extend(n.to_le_bytes());
        }
        let mut data = Vec::new();
        for (label, deleted, vector) in rows {
            let mut links = vec![0; usize::try_from(data_offset).unwrap()];
            links[2] = u8::from(*deleted);
            data.extend(links);
            data.extend(vector.iter().flat_map(|x| x.to_le_bytes()));
            data.extend(label.to_le_bytes());
        }
        (header, data)
    }

    fn all(data: &mut (impl Read + Seek), header: &Header) -> std::io::Result<Vec<Row>> {
        let mut found = Vec::new();
        rows(data, header, |row, _| found.push(row)).map(|_| found)
    }

    /// A medium with a bad place: EIO for whatever touches it. A mock, for no test can break a disk.
    struct Failing {
        data: Cursor<Vec<u8>>,
        bad: std::ops::Range<u64>,
    }

    impl Read for Failing {
        fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
            let at = self.data.position();
            if at < self.bad.end && self.bad.start < at + bytes.len() as u64 {
                return Err(rustix::io::Errno::IO.into());
            }
            self.data.read(bytes)
        }
    }

    impl Seek for Failing {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.data.seek(to)
        }
    }

    #[test]
    fn a_place_that_cannot_be_read_costs_its_rows_and_no_others() {
        let many: Vec<_> = (0..60_u64).map(|n| (n, false, vec![1.0, 2.0])).collect();
        let (head, data) = file(2, &many);
        let head = header(&head).unwrap();
        let bad = head.row_len * 20 + 3..head.row_len * 22 + 1;
        let mut found = Vec::new();
        let mut medium = Failing { data: Cursor::new(data.clone()), bad };
        let lost = rows(&mut medium, &head, |row, _| found.push(row.label)).unwrap();
        assert_eq!(lost.count, 3);
        assert!(lost.why.contains("nput/output error"), "{lost:?}");
        assert_eq!(found, (0..20).chain(23..60).collect::<Vec<u64>>());
        let mut medium = Failing { data: Cursor::new(data), bad: 0..u64::MAX };
        assert_eq!(rows(&mut medium, &head, |_, _| panic!()).unwrap().count, 60);
    }

    /// hnswlib reads 100 bytes, and neither the capacity nor the numbers of links: 45 of 46 rows were lost for them.
    #[test]
    fn a_header_is_taken_as_hnswlib_takes_it() {
        let (good, _) = file(3, &[(1, false, vec![1.0; 3])]);
        let expected = header(&good);
        let with = |at: usize, number: u64| {
            let mut other = good.clone();
            other[at..at + 8].copy_from_slice(&number.to_le_bytes());
            other
        };
        let mut longer = good.clone();
        longer.extend([7; 20]);
        for other in [longer, with(12, 0), with(12, u64::MAX), with(60, 0), with(68, 0), with(76, 99)] {
            assert_eq!(header(&other), expected);
        }
        assert_eq!(Header::of(3, 1, 1), expected.ok());
    }

    #[test]
    fn rows_come_with_label_flag_and_vector() {
        let (head, data) = file(2, &[(7, false, vec![1.0, -0.5]), (3, true, vec![0.25, f32::MAX])]);
        let head = header(&head).unwrap();
        assert_eq!((head.count, head.dimension), (2, 2));
        let mut data = Cursor::new(data);
        let found = all(&mut data, &head).unwrap();
        let second = Row { number: 1, label: 3, deleted: true };
        assert_eq!(found, [Row { number: 0, label: 7, deleted: false }, second]);
        let data = data.into_inner();
        let len = usize::try_from(head.row_len).unwrap();
        assert_eq!(row(&head, 1, &data[len..]), Some((second, vec![0.25, f32::MAX])));
        assert_eq!(row(&head, 1, &data[len..2 * len - 1]), None);
    }

    #[test]
    fn a_file_that_ends_early_is_an_error() {
        let (head, mut data) = file(2, &[(7, false, vec![1.0, 2.0]), (3, false, vec![3.0, 4.0])]);
        let head = header(&head).unwrap();
        data.pop();
        assert!(all(&mut Cursor::new(&data), &head).is_err());
        let mut norms = Norms::new(Cursor::new([9, 9, 9, 9, 0, 0, 128, 63, 0, 0, 0]));
        assert_eq!(norms.of(1).unwrap().to_bits(), 1.0f32.to_bits());
        assert!(norms.of(2).is_err());
    }

    #[test]
    fn a_header_whose_numbers_contradict_each_other_is_refused() {
        let (good, _) = file(3, &[]);
        assert!(header(&good[..99]).unwrap_err().contains("99 bytes"));
        for (at, byte) in [(0, 2), (4, 1), (24, 9), (28, 1), (36, 13), (44, 13)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(header(&bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_cosine_row_gets_its_norm_back_and_another_row_is_refused() {
        let mut unit = [0.6, 0.8];
        assert_eq!(with_norm(&mut unit, 5.0), Ok(()));
        assert_eq!(unit.map(f32::to_bits), [3.0f32, 4.0].map(f32::to_bits));
        assert!(with_norm(&mut [3.0, 4.0], 5.0).unwrap_err().contains("length 5.000"));
        assert_eq!(with_norm(&mut [0.0, 0.0], 0.0), Ok(()));
    }

    #[test]
    fn rows_speak_for_cosine_or_against_it() {
        let evidence = |rows: &[(f64, f32)]| {
            let mut evidence = Evidence::default();
            for (square, norm) in rows {
                evidence.take(*square, *norm);
            }
            evidence
        };
        let cosine = vec![(1.0, 5.0), (1.0, 0.2), (0.0, 0.0), (1.0, 1.0)];
        assert_eq!(evidence(&cosine).doubt(true), None);
        assert_eq!(evidence(&cosine).doubt(false), Some(Doubt { cosine: true, rows: 4, of: 4 }));
        let unit = [(1.0, 1.0); 5];
        assert_eq!((evidence(&unit).doubt(true), evidence(&unit).doubt(false)), (None, None));
        for undefined in [0.0, f32::NAN, -7.0, f32::INFINITY, 24465.0] {
            let other = [(29.0, undefined), (3.0, undefined), (1.0, 0.0)];
            assert_eq!(evidence(&other).doubt(false), None, "{undefined}");
            assert!(evidence(&other).doubt(true).is_some_and(|doubt| doubt.is_clear()), "{undefined}");
        }
        let mut few = vec![(1.0, 3.0); 300];
        few.extend([(4.0, 3.0); 3]);
        assert_eq!(evidence(&few).doubt(true), None, "3 of 303 are records of their own");
        few.push((4.0, 3.0));
        assert_eq!(evidence(&few).doubt(true), Some(Doubt { cosine: false, rows: 4, of: 304 }));
        assert_eq!(evidence(&[(1.0, 3.0), (4.0, 3.0)]).doubt(true), None, "one row is a record of its own");
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), data in any::<[u8; 64]>()) {
            if let Ok(head) = header(&bytes) && head.count < 1000 && head.row_len < 1 << 20 {
                drop(all(&mut Cursor::new(data), &head));
            }
        }

        #[test]
        fn no_mutated_header_makes_it_panic(at in 0usize..100, byte in any::<u8>()) {
            let (mut bytes, data) = file(3, &[(1, false, vec![1.0, 2.0, 3.0])]);
            bytes[at] = byte;
            if let Ok(head) = header(&bytes) && head.count < 1000 {
                drop(all(&mut Cursor::new(&data), &head));
                drop(row(&head, 0, &data));
            }
        }
    }
}
