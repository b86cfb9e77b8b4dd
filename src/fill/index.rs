//! Writes the files of a collection's HNSW index, as hnswlib and Chroma 1.x lay them out (measured on 1.0.20 and 1.5.9): rows as
//! the records come, and links, header and ids when all have come. What is here is believed by nobody: the run that follows reads
//! each vector through the engine and from these files, and searches.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::iter::repeat_n;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::graph::near::{Measure, Vectors};
use super::graph::{Graph, Shape};
use crate::chroma::rules;
use crate::chroma::settings::{self, Parameter};
use crate::model::{Collection, Distance};
use crate::store::files::index::hnsw::{Header, floats};
use crate::store::files::index::stamps::{DATA, HEADER, LENGTHS, LINKS, PICKLE};

/// More links than any index has: their number has two bytes in a row.
const MOST_NEIGHBOURS: i64 = 1 << 12;
/// Entries of a dict that a pickle sets at once.
const ITEMS: usize = 1000;

/// What a collection's settings say of its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    shape: Shape,
    distance: Distance,
    /// Records from which on Chroma keeps an index on the disk: those of a smaller collection stay in the log.
    pub(super) from: u64,
}

impl Plan {
    /// What they say; None where they do not say all of it, or what no index has.
    #[must_use]
    pub fn of(collection: &Collection) -> Option<Self> {
        let settings = settings::effective(collection);
        let number = |parameter| settings.get(&parameter)?.as_i64();
        let neighbours = number(Parameter::MaxNeighbors).filter(|n| (2..=MOST_NEIGHBOURS).contains(n))?;
        let construction = number(Parameter::EfConstruction).filter(|n| *n > 0)?;
        let from = number(Parameter::SyncThreshold).filter(|n| *n > 0)?;
        let shape =
            Shape { neighbours: usize::try_from(neighbours).ok()?, construction: usize::try_from(construction).ok()? };
        Some(Self { shape, distance: collection.distance, from: u64::try_from(from).ok()? })
    }
}

/// Bytes of memory that an index takes while it is built, of so many records that take so many bytes, with the usual number of
/// links.
#[must_use]
pub fn memory(records: u64, bytes: u64) -> u64 {
    // of a component the half is kept
    (bytes / 2).saturating_add(Shape { neighbours: 16, construction: 0 }.memory(records, 0))
}

/// The rows of an index that is being written.
#[derive(Debug)]
pub(super) struct Rows {
    plan: Plan,
    folder: PathBuf,
    header: Header,
    data: BufWriter<File>,
    norms: BufWriter<File>,
}

impl Rows {
    /// Begins the folder of an index of vectors with so many components.
    pub(super) fn begin(plan: Plan, folder: &Path, dimension: usize) -> io::Result<Self> {
        let (dimension, neighbours) = (u32::try_from(dimension), u32::try_from(plan.shape.neighbours));
        let header = dimension.ok().zip(neighbours.ok()).and_then(|(one, other)| Header::of(one, other, 0));
        let header = header.ok_or_else(|| io::Error::other("no index has such rows"))?;
        fs::create_dir(folder)?;
        let file = |name| File::create_new(folder.join(name)).map(|file| BufWriter::with_capacity(1 << 18, file));
        Ok(Self { plan, folder: folder.to_owned(), header, data: file(DATA)?, norms: file(LENGTHS)? })
    }

    /// Adds a row without links, whose label is its number from 1 on.
    pub(super) fn push(&mut self, vector: &[f32]) -> io::Result<()> {
        let Self { plan, header, data, norms, .. } = self;
        header.count += 1;
        let links = usize::try_from(header.data_offset).map_err(io::Error::other)?;
        data.write_all(&repeat_n(0, links).collect::<Vec<u8>>())?;
        let norm = if plan.distance == Distance::Cosine {
            let (kept, norm) = rules::as_cosine_keeps(vector);
            data.write_all(&kept.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())?;
            norm
        } else {
            data.write_all(&vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?;
            0.0
        };
        data.write_all(&header.count.to_le_bytes())?;
        norms.write_all(&norm.to_le_bytes())
    }

    /// Removes what was begun.
    pub(super) fn abandon(self) -> io::Result<()> {
        fs::remove_dir_all(&self.folder)
    }

    /// Builds the graph, and writes all that the rows do not have yet; `ids`: calls what it is given with each id, in the order
    /// of the rows. An error if `stop` came to be true meanwhile.
    pub(super) fn finish(
        self,
        ids: impl Fn(&mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()>,
        stop: &AtomicBool,
    ) -> io::Result<()> {
        let Self { plan, folder, header, data, norms } = self;
        data.into_inner().map_err(io::IntoInnerError::into_error)?;
        norms.into_inner().map_err(io::IntoInnerError::into_error)?;
        let measure = if plan.distance == Distance::Ip { Measure::Ip } else { Measure::L2 };
        let vectors = vectors(&folder.join(DATA), &header, measure)?;
        let graph = Graph::build(plan.shape, vectors, stop).ok_or(io::ErrorKind::Interrupted)?;
        lowest(&folder.join(DATA), &graph, &header, plan.shape)?;
        above(&folder.join(LINKS), &graph, plan.shape)?;
        fs::write(folder.join(HEADER), head(&graph, &header, plan.shape))?;
        let mut pickle = BufWriter::new(File::create_new(folder.join(PICKLE))?);
        pickled(&mut pickle, &header, ids)?;
        pickle.flush()
    }
}

/// Reads the vectors back, as the index compares them: once for what they have in common, and once for each.
fn vectors(file: &Path, header: &Header, measure: Measure) -> io::Result<Vectors> {
    let size = |bytes: u64| usize::try_from(bytes).map_err(io::Error::other);
    let (dimension, start) = (header.dimension as usize, size(header.data_offset)?);
    let mut row = vec![0; size(header.row_len)?];
    let mut each = |take: &mut dyn FnMut(&[u8])| {
        let mut rows = BufReader::with_capacity(1 << 20, File::open(file)?);
        (0..header.count).try_for_each(|_| {
            rows.read_exact(&mut row)?;
            take(row.get(start..start + dimension * 4).unwrap_or_default());
            io::Result::Ok(())
        })
    };
    let mut sums = vec![0.0; dimension];
    each(&mut |row| sums.iter_mut().zip(floats(row)).for_each(|(sum, component)| *sum += f64::from(component)))?;
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a mean need not be exact")]
    let mean = sums.iter().map(|sum| (sum / header.count as f64) as f32).collect();
    let mut vectors = Vectors::new(measure, mean, size(header.count)?);
    each(&mut |row| vectors.push(floats(row)))?;
    Ok(vectors)
}

/// A list with its length, as long as it can become.
fn list(graph: &Graph, node: u32, level: usize, most: usize) -> io::Result<Vec<u8>> {
    let links: Vec<u32> = graph.links(node, level).collect();
    let count = u32::try_from(links.len()).map_err(io::Error::other)?;
    let free = most.saturating_sub(links.len());
    Ok([count].into_iter().chain(links).chain(repeat_n(0, free)).flat_map(u32::to_le_bytes).collect())
}

fn nodes(graph: &Graph) -> io::Result<std::ops::Range<u32>> {
    u32::try_from(graph.len()).map(|count| 0..count).map_err(io::Error::other)
}

/// Writes the lowest level's links into the rows.
fn lowest(file: &Path, graph: &Graph, header: &Header, shape: Shape) -> io::Result<()> {
    let file = File::options().write(true).open(file)?;
    nodes(graph)?.try_for_each(|node| {
        let links = list(graph, node, 0, shape.most(0))?;
        file.write_all_at(&links, u64::from(node) * header.row_len)
    })
}

/// Writes the links of all other levels: for each node their bytes and they.
fn above(file: &Path, graph: &Graph, shape: Shape) -> io::Result<()> {
    let mut file = BufWriter::new(File::create_new(file)?);
    for node in nodes(graph)? {
        let levels = (1..=graph.level(node)).map(|level| list(graph, node, level, shape.most(level)));
        let links = levels.collect::<io::Result<Vec<_>>>()?.concat();
        file.write_all(&u32::try_from(links.len()).map_err(io::Error::other)?.to_le_bytes())?;
        file.write_all(&links)?;
    }
    file.flush()
}

/// The header: version, sizes and places of a row, the entry, and the settings.
#[expect(clippy::cast_precision_loss, reason = "no index has so many links")]
fn head(graph: &Graph, header: &Header, shape: Shape) -> Vec<u8> {
    let Header { count, row_len, label_offset, data_offset, .. } = *header;
    let (neighbours, entry) = (shape.neighbours as u64, graph.entry());
    let level = u32::try_from(graph.level(entry)).unwrap_or_default();
    let mut bytes = 1_u32.to_le_bytes().to_vec();
    let long = |bytes: &mut Vec<u8>, numbers: &[u64]| bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    long(&mut bytes, &[0, count.next_power_of_two(), count, row_len, label_offset, data_offset]);
    bytes.extend([level, entry].into_iter().flat_map(u32::to_le_bytes));
    long(&mut bytes, &[neighbours, neighbours * 2, neighbours]);
    bytes.extend((1.0 / (neighbours as f64).ln()).to_le_bytes());
    long(&mut bytes, &[shape.construction.max(shape.neighbours) as u64]);
    bytes
}

/// The ids and their labels, as a pickle of protocol 3.
fn pickled(
    out: &mut impl Write,
    header: &Header,
    ids: impl Fn(&mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(b"\x80\x03}(")?;
    text(out, "dimensionality")?;
    out.write_all(b"N")?;
    text(out, "total_elements_added")?;
    number(out, header.count)?;
    text(out, "max_seq_id")?;
    out.write_all(b"N")?;
    for (name, by_label) in [("id_to_label", false), ("label_to_id", true)] {
        text(out, name)?;
        out.write_all(b"}")?;
        let mut label = 0;
        ids(&mut |id| {
            if label % ITEMS as u64 == 0 {
                out.write_all(if label == 0 { b"(" } else { b"u(" })?;
            }
            label += 1;
            if by_label {
                number(out, label)?;
                text(out, id)
            } else {
                text(out, id)?;
                number(out, label)
            }
        })?;
        if label > 0 {
            out.write_all(b"u")?;
        }
    }
    text(out, "id_to_seq_id")?;
    out.write_all(b"}u.")
}

fn text(out: &mut impl Write, text: &str) -> io::Result<()> {
    let len = u32::try_from(text.len()).map_err(io::Error::other)?;
    out.write_all(b"X")?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(text.as_bytes())
}

fn number(out: &mut impl Write, number: u64) -> io::Result<()> {
    let number = i32::try_from(number).map_err(io::Error::other)?;
    out.write_all(b"J")?;
    out.write_all(&number.to_le_bytes())
}

/// Errs as a test says: which file, at which byte, and what is added to it.
#[cfg(feature = "faults")]
pub(super) fn spoil(folder: &Path) -> io::Result<()> {
    let Ok(told) = std::env::var(crate::faults::SPOILS_INDEX) else { return Ok(()) };
    let mut words = told.split(' ');
    let (Some(file), Some(at), Some(by)) = (words.next(), words.next(), words.next()) else { return Ok(()) };
    tracing::error!("fault point {}: {told}", crate::faults::SPOILS_INDEX);
    let (at, by): (usize, u8) = (at.parse().map_err(io::Error::other)?, by.parse().map_err(io::Error::other)?);
    let mut bytes = fs::read(folder.join(file))?;
    let byte = bytes.get_mut(at).ok_or_else(|| io::Error::other("it is shorter"))?;
    *byte = byte.wrapping_add(by);
    fs::write(folder.join(file), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::files::index::{hnsw, pickle};

    fn plan(distance: Distance) -> Plan {
        Plan { shape: Shape { neighbours: 4, construction: 20 }, distance, from: 1 }
    }

    /// The folder of an index of these vectors, with the ids "id 0", "id 1" and so on.
    fn written(distance: Distance, vectors: &[[f32; 3]]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut rows = Rows::begin(plan(distance), &dir.path().join("index"), 3).unwrap();
        vectors.iter().try_for_each(|vector| rows.push(vector)).unwrap();
        let ids = |take: &mut dyn FnMut(&str) -> io::Result<()>| {
            (0..vectors.len()).try_for_each(|n| take(&format!("id {n}")))
        };
        rows.finish(ids, &AtomicBool::new(false)).unwrap();
        dir
    }

    #[test]
    fn what_is_written_is_read_as_chromas_own() {
        let vectors: Vec<[f32; 3]> = (1..=2500_u16).map(|n| [f32::from(n), f32::from(n % 7), 2.0]).collect();
        for distance in [Distance::L2, Distance::Cosine] {
            let dir = written(distance, &vectors);
            let read = |name| fs::read(dir.path().join("index").join(name)).unwrap();
            let header = hnsw::header(&read(HEADER)).unwrap();
            assert_eq!(header, Header::of(3, 4, 2500).unwrap());
            let size = usize::try_from(header.row_len).unwrap();
            let (data, norms, ids) = (read(DATA), read(LENGTHS), read(PICKLE));
            assert_eq!((data.len() as u64, norms.len()), (header.data_len(), 10_000));
            let ids = pickle::parse(ids.as_slice(), ids.len() as u64).unwrap().unwrap();
            assert_eq!((ids.total, ids.max_seq_id, ids.flawed), (Some(2500), None, None));
            let (mut walk, mut found) = (ids.labels.walk(), 0);
            while let Some((id, label)) = walk.next().unwrap() {
                found += 1;
                let number = label.unwrap() - 1;
                assert_eq!(id, format!("id {number}").as_bytes());
                let (row, norm) = (number as usize * size, number as usize * 4);
                let row = &data[row..row + size];
                let (row, mut vector) = hnsw::row(&header, number, row).unwrap();
                assert_eq!((row.label, row.deleted), (u64::from(number) + 1, false));
                if distance == Distance::Cosine {
                    hnsw::with_norm(&mut vector, floats(&norms[norm..norm + 4]).next().unwrap()).unwrap();
                }
                let pairs = vectors[number as usize].iter().zip(&vector);
                assert!(pairs.clone().all(|(a, b)| (a - b).abs() <= a * 1e-6), "{pairs:?}");
            }
            assert_eq!(found, 2500);
        }
    }

    #[test]
    fn links_have_the_room_of_the_settings() {
        let dir = written(Distance::Ip, &[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        let data = fs::read(dir.path().join("index").join(DATA)).unwrap();
        let first: Vec<u32> = data[..12].as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        assert_eq!((first[0], first[1].min(first[2]), first[1].max(first[2])), (2, 1, 2));
        // each of three rows: no links above, or whole lists of five numbers
        let above = fs::read(dir.path().join("index").join(LINKS)).unwrap();
        assert!(above.len() >= 12 && (above.len() - 12).is_multiple_of(20), "{}", above.len());
    }

    #[test]
    fn settings_that_no_index_has_leave_it_to_the_engine() {
        let collection = |hnsw: serde_json::Value| Collection {
            id: "1".into(),
            name: "abc".into(),
            tenant: "t".into(),
            database: "d".into(),
            dimension: None,
            distance: Distance::L2,
            metadata: crate::model::Metadata::default(),
            configuration: Some(serde_json::json!({ "hnsw": hnsw })),
            schema: None,
            unreadable: None,
        };
        let hnsw = |m: i64, construction: i64, sync: i64| {
            let all = serde_json::json!({"space": "l2", "max_neighbors": m, "ef_construction": construction, "sync_threshold": sync});
            Plan::of(&collection(all))
        };
        let found = hnsw(16, 100, 1000).unwrap();
        assert_eq!((found.shape, found.from), (Shape { neighbours: 16, construction: 100 }, 1000));
        for (m, construction, sync) in [(1, 100, 1000), (1 << 20, 100, 1000), (16, 0, 1000), (16, 100, -1)] {
            assert_eq!(hnsw(m, construction, sync), None, "{m} {construction} {sync}");
        }
        assert_eq!(Plan::of(&collection(serde_json::json!({"space": "l2"}))), None);
    }
}
