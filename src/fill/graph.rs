//! The graph of an HNSW index, built as hnswlib builds it (Malkov and Yashunin, 2016): a node for each vector, linked on one or
//! more levels to a few of its nearest that lie in different directions. On all cores. Opens no file, and knows none.
//!
//! Two things differ from hnswlib. The levels are drawn beforehand, and the search begins at a node of the highest: so it never
//! changes. And lists may grow beyond their bound by `neighbours` links before they are cut back to it: cutting costs most.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) mod near;

use near::{Near, Vectors};

/// Locks for all lists together: a node has the one of its number's last bits.
const LOCKS: usize = 1 << 12;

/// What a collection's settings say of its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Links of a node on each level above the lowest, which has twice as many; at least 2.
    pub(super) neighbours: usize,
    /// Candidates of which a node's links are chosen.
    pub(super) construction: usize,
}

impl Shape {
    /// Links of a node at most.
    pub(super) const fn most(self, level: usize) -> usize {
        if level == 0 { self.neighbours * 2 } else { self.neighbours }
    }

    /// Numbers of a list while it grows: how many links, and those.
    const fn width(self, level: usize) -> usize {
        1 + self.most(level) + self.neighbours
    }

    /// Bytes of memory for a graph of so many vectors, about.
    pub(super) fn memory(self, vectors: u64, dimension: u64) -> u64 {
        // the levels above have a fifteenth of the nodes; 24 bytes are levels, places and scales
        let links = (self.width(0) + self.width(1) / 4) as u64 * 4;
        vectors.saturating_mul(dimension.saturating_mul(2).saturating_add(links + 24))
    }
}

/// A graph that is built.
#[derive(Debug)]
pub(super) struct Graph {
    shape: Shape,
    vectors: Vectors,
    /// The highest level of each node.
    levels: Vec<u8>,
    /// How many lists above the lowest level the nodes before each have.
    before: Vec<usize>,
    lowest: Vec<AtomicU32>,
    above: Vec<AtomicU32>,
    locks: Vec<Mutex<()>>,
    entry: u32,
}

/// What a thread needs beside the graph.
struct Scratch {
    /// The last search that came to each node.
    seen: Vec<u32>,
    search: u32,
    fresh: Vec<u32>,
}

impl Graph {
    /// Builds it of at least one vector; None if `stop` comes to be true meanwhile.
    pub(super) fn build(shape: Shape, vectors: Vectors, stop: &AtomicBool) -> Option<Self> {
        let levels: Vec<u8> = (0..vectors.len()).map(|node| level(node, shape.neighbours)).collect();
        let lists = |before: &mut usize, level: &u8| {
            let these = *before;
            *before += usize::from(*level);
            Some(these)
        };
        let before: Vec<usize> = levels.iter().scan(0, lists).collect();
        let of_all: usize = levels.iter().map(|level| usize::from(*level)).sum();
        let zeros = |count: usize| std::iter::repeat_with(AtomicU32::default).take(count).collect();
        let highest = (0_u32..).zip(&levels).max_by_key(|(node, level)| (**level, Reverse(*node)));
        let entry = highest.map_or(0, |(node, _)| node);
        let graph = Self {
            shape,
            lowest: zeros(vectors.len() * shape.width(0)),
            above: zeros(of_all * shape.width(1)),
            vectors,
            levels,
            before,
            locks: std::iter::repeat_with(Mutex::default).take(LOCKS).collect(),
            entry,
        };
        graph.each(stop, |node, scratch| graph.insert(node, scratch));
        graph.each(stop, |node, _| graph.cut_back(node));
        (!stop.load(Ordering::Relaxed)).then_some(graph)
    }

    /// How many nodes.
    pub(super) const fn len(&self) -> usize {
        self.levels.len()
    }

    /// Where a search begins.
    pub(super) const fn entry(&self) -> u32 {
        self.entry
    }

    /// The highest level of a node.
    pub(super) fn level(&self, node: u32) -> usize {
        self.levels.get(node as usize).copied().unwrap_or_default().into()
    }

    /// The nodes that a node is linked to.
    pub(super) fn links(&self, node: u32, level: usize) -> impl Iterator<Item = u32> {
        let (count, links) = self.list(node, level).split_first().unzip();
        let count = count.map_or(0, |count| count.load(Ordering::Acquire) as usize);
        links.unwrap_or_default().iter().take(count).map(|link| link.load(Ordering::Relaxed))
    }

    /// Calls `work` for every node, on all cores.
    fn each(&self, stop: &AtomicBool, work: impl Fn(u32, &mut Scratch) + Sync) {
        let next = AtomicUsize::new(0);
        let run = || {
            let mut scratch = Scratch { seen: vec![0; self.len()], search: 0, fresh: Vec::new() };
            loop {
                let node = next.fetch_add(1, Ordering::Relaxed);
                let node = u32::try_from(node).ok().filter(|_| node < self.len() && !stop.load(Ordering::Relaxed));
                let Some(node) = node else { return };
                work(node, &mut scratch);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(run);
            }
            run();
        });
    }

    fn list(&self, node: u32, level: usize) -> &[AtomicU32] {
        let width = self.shape.width(level);
        let (lists, number) = match level.checked_sub(1) {
            None => (&self.lowest, node as usize),
            Some(above) => (&self.above, self.before.get(node as usize).copied().unwrap_or_default() + above),
        };
        lists.get(number * width..(number + 1) * width).unwrap_or_default()
    }

    fn lock(&self, node: u32) -> MutexGuard<'_, ()> {
        self.locks[node as usize % LOCKS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Links a node that no other one is linked to yet. Its own lists are whole before any search can come to it.
    fn insert(&self, node: u32, scratch: &mut Scratch) {
        if node == self.entry {
            return;
        }
        let (own, top) = (self.level(node), self.level(self.entry));
        let mut nearest = self.vectors.from(self.entry, node);
        for level in (own + 1..=top).rev() {
            nearest = self.closest(node, nearest, level);
        }
        let mut chosen = Vec::with_capacity(own + 1);
        for level in (0..=own).rev() {
            let found = self.search(node, nearest, level, scratch);
            nearest = found.first().copied().unwrap_or(nearest);
            chosen.push((level, self.chosen(&found, self.shape.neighbours)));
        }
        for (level, links) in &chosen {
            self.set(node, *level, links);
        }
        for (level, links) in &chosen {
            for other in links {
                self.link_back(other.node, Near { node, ..*other }, *level);
            }
        }
    }

    /// Adds a link to a node's list; one that is full is cut back before.
    fn link_back(&self, node: u32, link: Near, level: usize) {
        let _held = self.lock(node);
        let list = self.list(node, level);
        let count = self.links(node, level).count();
        match list.get(count + 1) {
            Some(free) => {
                free.store(link.node, Ordering::Relaxed);
                list[0].store(u32::try_from(count + 1).unwrap_or_default(), Ordering::Release);
            }
            None => self.set(node, level, &self.best(node, level, Some(link))),
        }
    }

    fn cut_back(&self, node: u32) {
        for level in 0..=self.level(node) {
            if self.links(node, level).count() > self.shape.most(level) {
                self.set(node, level, &self.best(node, level, None));
            }
        }
    }

    /// Those of a node's links, and of one more, that stay where no more than allowed can.
    fn best(&self, node: u32, level: usize, more: Option<Near>) -> Vec<Near> {
        let mut all: Vec<Near> =
            self.links(node, level).map(|link| self.vectors.from(link, node)).chain(more).collect();
        all.sort_unstable();
        self.chosen(&all, self.shape.most(level))
    }

    fn set(&self, node: u32, level: usize, links: &[Near]) {
        let list = self.list(node, level);
        for (place, link) in list.iter().skip(1).zip(links) {
            place.store(link.node, Ordering::Relaxed);
        }
        if let Some(count) = list.first() {
            count.store(u32::try_from(links.len()).unwrap_or_default(), Ordering::Release);
        }
    }

    /// Of the nearest, in order, those that are nearer to the node than to one that was chosen before: links in all directions.
    fn chosen(&self, nearest: &[Near], most: usize) -> Vec<Near> {
        if nearest.len() < most {
            return nearest.to_vec();
        }
        let mut chosen: Vec<Near> = Vec::with_capacity(most);
        for near in nearest {
            if chosen.len() >= most {
                break;
            }
            if chosen.iter().all(|other| self.vectors.from(other.node, near.node).apart >= near.apart) {
                chosen.push(*near);
            }
        }
        chosen
    }

    /// The node that is nearest among its neighbours, from `start` on.
    fn closest(&self, node: u32, start: Near, level: usize) -> Near {
        let mut best = start;
        loop {
            let from = best;
            let near = self.links(from.node, level).map(|link| self.vectors.from(link, node));
            best = near.fold(from, |best, near| if near.apart < best.apart { near } else { best });
            if best.node == from.node {
                return best;
            }
        }
    }

    /// The nearest of a level, in order, that a search from `start` on comes to.
    fn search(&self, node: u32, start: Near, level: usize, scratch: &mut Scratch) -> Vec<Near> {
        let most = self.shape.construction.max(self.shape.neighbours);
        let Scratch { seen, search, fresh } = scratch;
        *search += 1;
        let mut is_new = |node: u32| std::mem::replace(&mut seen[node as usize], *search) != *search;
        let (mut found, mut open) = (BinaryHeap::with_capacity(most + 1), BinaryHeap::new());
        is_new(node);
        is_new(start.node);
        found.push(start);
        open.push(Reverse(start));
        let mut furthest = start.apart;
        while let Some(Reverse(next)) = open.pop() {
            if next.apart > furthest && found.len() >= most {
                break;
            }
            fresh.clear();
            fresh.extend(self.links(next.node, level).filter(|link| is_new(*link)));
            for link in fresh.iter() {
                let near = self.vectors.from(*link, node);
                if found.len() >= most && near.apart >= furthest {
                    continue;
                }
                open.push(Reverse(near));
                found.push(near);
                if found.len() > most {
                    found.pop();
                }
                furthest = found.peek().map_or(furthest, |last| last.apart);
            }
        }
        found.into_sorted_vec()
    }
}

/// The highest level of a node, the same at each build: of each level's nodes one of `neighbours` is on the next one, too.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn level(node: usize, neighbours: usize) -> u8 {
    // splitmix64: bits that look like chance
    let mut bits = (node as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let chance = ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
    (-(1.0 - chance).ln() / (neighbours as f64).ln()) as u8
}

#[cfg(test)]
mod tests {
    use super::near::Measure;
    use super::*;

    pub(super) fn mean(all: &[f32], dimension: usize) -> Vec<f32> {
        let (mut mean, count) = (vec![0.0; dimension], u16::try_from(all.len() / dimension).unwrap());
        for vector in all.chunks_exact(dimension) {
            for (mean, component) in mean.iter_mut().zip(vector) {
                *mean += component / f32::from(count);
            }
        }
        mean
    }

    fn kept(all: &[f32], dimension: usize, measure: Measure) -> Vectors {
        let mut vectors = Vectors::new(measure, mean(all, dimension), all.len() / dimension);
        all.chunks_exact(dimension).for_each(|vector| vectors.push(vector.iter().copied()));
        vectors
    }

    fn random(count: u16, dimension: usize) -> Vec<f32> {
        let mut bits = 7_u64;
        let mut next = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            f32::from(u16::try_from(bits >> 48).unwrap()) / 65_536.0 - 0.5
        };
        std::iter::repeat_with(&mut next).take(usize::from(count) * dimension).collect()
    }

    fn built(count: u16, dimension: usize, measure: Measure, neighbours: usize) -> Graph {
        let shape = Shape { neighbours, construction: 100 };
        Graph::build(shape, kept(&random(count, dimension), dimension, measure), &AtomicBool::new(false)).unwrap()
    }

    /// Every list is within its bound, without doubles, and of nodes that are on its level.
    fn assert_sound(graph: &Graph) {
        for node in 0..u32::try_from(graph.len()).unwrap() {
            assert!(graph.level(node) <= graph.level(graph.entry()));
            for level in 0..=graph.level(node) {
                let mut links: Vec<u32> = graph.links(node, level).collect();
                assert!(links.len() <= graph.shape.most(level), "{node}");
                assert!(links.iter().all(|link| *link != node && graph.level(*link) >= level), "{node}: {links:?}");
                links.sort_unstable();
                links.dedup();
                assert_eq!(links.len(), graph.links(node, level).count(), "{node}");
            }
        }
    }

    /// How many nodes a walk along the links of the lowest level comes to.
    fn reached(graph: &Graph) -> usize {
        let (mut seen, mut open) = (vec![false; graph.len()], vec![graph.entry()]);
        seen[graph.entry() as usize] = true;
        while let Some(node) = open.pop() {
            for link in graph.links(node, 0) {
                if !std::mem::replace(&mut seen[link as usize], true) {
                    open.push(link);
                }
            }
        }
        seen.into_iter().filter(|seen| *seen).count()
    }

    #[test]
    fn a_search_finds_nearly_all_that_is_nearest() {
        for (measure, wanted) in [(Measure::L2, 0.97), (Measure::Ip, 0.9)] {
            let all = random(3000, 24);
            let one = |node: u32| &all[node as usize * 24..(node as usize + 1) * 24];
            let exact = |node: u32, other: u32| -> Near {
                let pairs = one(node).iter().zip(one(other));
                let apart = match measure {
                    Measure::L2 => pairs.map(|(a, b)| (a - b) * (a - b)).sum(),
                    Measure::Ip => -pairs.map(|(a, b)| a * b).sum::<f32>(),
                };
                Near { apart, node }
            };
            let graph = built(3000, 24, measure, 16);
            assert_sound(&graph);
            assert!(reached(&graph) >= 2990, "{measure:?}: {} are reached", reached(&graph));
            let mut scratch = Scratch { seen: vec![0; graph.len()], search: 0, fresh: Vec::new() };
            let (mut hits, mut of) = (0, 0);
            for node in (0..3000_u32).step_by(100) {
                let mut all: Vec<Near> = (0..3000).filter(|n| *n != node).map(|n| exact(n, node)).collect();
                all.sort_unstable();
                let start = graph.vectors.from(graph.entry(), node);
                let found = graph.search(node, start, 0, &mut scratch);
                let is_found = |near: &&Near| found.iter().take(11).any(|found| found.node == near.node);
                hits += all.iter().take(10).filter(is_found).count();
                of += 10;
            }
            let recall = f64::from(u32::try_from(hits).unwrap()) / f64::from(of);
            assert!(recall >= wanted, "{measure:?}: {recall}");
        }
    }

    /// Many that are the same, and many that hardly differ (a tester's finding: all of a group were linked to the same few, and a
    /// search for one of them came to none of the others).
    #[test]
    fn a_search_finds_the_group_of_a_vector() {
        for (measure, noise) in [(Measure::L2, 0.0), (Measure::Ip, 0.0), (Measure::L2, 1e-4), (Measure::L2, 1e-6)] {
            let (groups, count, dimension) = (20, 2000_u16, 32);
            let (centres, noises) = (random(groups, dimension), random(count, dimension));
            let centre = |at: usize| centres[(at / dimension % usize::from(groups)) * dimension + at % dimension];
            let all: Vec<f32> = noises.iter().enumerate().map(|(at, x)| centre(at) + x * noise).collect();
            let shape = Shape { neighbours: 16, construction: 100 };
            let graph = Graph::build(shape, kept(&all, dimension, measure), &AtomicBool::new(false)).unwrap();
            assert_sound(&graph);
            let mut scratch = Scratch { seen: vec![0; graph.len()], search: 0, fresh: Vec::new() };
            let mut found = |node: u32| {
                let start = graph.vectors.from(graph.entry(), node);
                let found = graph.search(node, start, 0, &mut scratch);
                found
                    .iter()
                    .filter(|near| {
                        (near.node + u32::from(groups) - node % u32::from(groups)).is_multiple_of(groups.into())
                    })
                    .count()
                    >= 11
            };
            let good = (0..u32::from(count)).step_by(10).filter(|node| found(*node)).count();
            assert!(good >= 190, "{measure:?} {noise}: {good} of 200");
            assert!(reached(&graph) >= 1990, "{measure:?} {noise}: {} are reached", reached(&graph));
        }
    }

    #[test]
    fn few_vectors_equal_ones_and_few_links_make_a_graph_too() {
        for count in [1, 2, 3, 20] {
            let graph = built(count, 3, Measure::L2, 16);
            assert_sound(&graph);
            assert_eq!(reached(&graph), usize::from(count));
        }
        assert_sound(&built(500, 8, Measure::Ip, 2));
        let equal = kept(&vec![1.0; 900], 3, Measure::L2);
        assert_sound(&Graph::build(Shape { neighbours: 4, construction: 10 }, equal, &AtomicBool::new(false)).unwrap());
    }

    #[test]
    fn one_that_is_to_stop_makes_none() {
        let shape = Shape { neighbours: 16, construction: 100 };
        assert!(Graph::build(shape, kept(&random(50, 3), 3, Measure::L2), &AtomicBool::new(true)).is_none());
    }

    #[test]
    fn a_node_in_sixteen_is_on_the_next_level() {
        let of = |wanted: u8| (0..100_000).filter(|node| level(*node, 16) >= wanted).count();
        assert!((6000..6500).contains(&of(1)) && (330..450).contains(&of(2)), "{} {}", of(1), of(2));
    }
}
