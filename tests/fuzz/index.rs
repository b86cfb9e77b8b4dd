//! Changes the files of an HNSW folder by what their fields are: opcodes of the pickle, numbers of the header, parts of a
//! row. Judges nothing.

use std::fs::{self, File};
use std::path::Path;

use super::extremes::{LONGS, bytes};
use crate::support::dice::Dice;

/// The files that are read, and one that is not.
const FILES: [&str; 5] = ["index_metadata.pickle", "header.bin", "data_level0.bin", "length.bin", "link_lists.bin"];

/// Opcodes that Chroma's pickles are made of, and some that they never hold.
const CODES: &[u8] = b"}(NKMJXhqju.sbcR\x80\x8a\x8c\x8d\x93\x94\x95\x81)0ai";

/// Opcodes that are taken apart: of a long file the rest stays whole, for what the fuzzer itself holds counts as memory, too.
const APART: usize = 100_000;

/// The bytes of each opcode with its argument.
fn opcodes(pickle: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = pickle;
    let mut all = Vec::new();
    while let Some(code) = rest.first() {
        let number = |len: usize| {
            let field = rest.get(1..=len).unwrap_or_default();
            field.iter().rev().fold(0_usize, |sum, byte| sum.wrapping_shl(8) | usize::from(*byte))
        };
        let len = match code {
            0x80 | b'K' | b'q' | b'h' => 2,
            b'M' => 3,
            b'J' | b'r' | b'j' => 5,
            0x95 => 9,
            0x8a | 0x8c => number(1).saturating_add(2),
            b'X' => number(4).saturating_add(5),
            0x8d => number(8).saturating_add(9),
            _ => 1,
        };
        let len = if all.len() < APART { len.min(rest.len()) } else { rest.len() };
        let (one, after) = rest.split_at(len);
        all.push(one.to_vec());
        rest = after;
    }
    all
}

/// A pickle with some opcodes changed, dropped, doubled or put elsewhere.
pub(crate) fn pickle(dice: &mut Dice, bytes_of: &[u8]) -> Vec<u8> {
    let mut all = opcodes(bytes_of);
    for _ in 0..=dice.below(4) {
        if all.is_empty() {
            break;
        }
        let place = dice.below(all.len());
        match dice.below(9) {
            0 => drop(all.remove(place)),
            1 => {
                let one = all[place].clone();
                let times = if dice.below(8) == 0 { 20_000 } else { 3 };
                drop(all.splice(place..place, std::iter::repeat_n(one, dice.below(times))));
            }
            2 => {
                let other = dice.below(all.len());
                all.swap(place, other);
            }
            3 => {
                let code = dice.one_of(CODES);
                let argument = bytes(dice, 12);
                let len = dice.below(12);
                all.insert(place, std::iter::once(code).chain(argument).take(len + 1).collect());
            }
            4 => all[place][0] = dice.one_of(CODES),
            5 => all.truncate(place),
            _ => {
                // the argument, or the length before a text
                let one = &mut all[place];
                let len = (one.len() - 1).min([1, 2, 4, 8][dice.below(4)]);
                let new = bytes(dice, len);
                one[1..=len].copy_from_slice(&new);
            }
        }
    }
    all.concat()
}

/// The places of a header's numbers, with their bytes: the version, nine lengths and counts, the highest level and the entry
/// point, three link counts, a factor, and how many neighbours are looked at.
const FIELDS: [(usize, usize); 15] = [
    (0, 4),
    (4, 8),
    (12, 8),
    (20, 8),
    (28, 8),
    (36, 8),
    (44, 8),
    (52, 4),
    (56, 4),
    (60, 8),
    (68, 8),
    (76, 8),
    (84, 8),
    (92, 8),
    (20, 4),
];

/// A header with a number at its edge; or one whose numbers fit each other, and no file.
pub(crate) fn header(dice: &mut Dice, before: &[u8]) -> Vec<u8> {
    let mut header = before.to_vec();
    header.resize(100, 0);
    let set = |header: &mut Vec<u8>, at: usize, value: u64| header[at..at + 8].copy_from_slice(&value.to_le_bytes());
    let long = |header: &[u8], at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
    match dice.below(6) {
        0 => {
            let dimension = long(&header, 36).wrapping_sub(long(&header, 44)) / 4;
            let links = 1_u64 << dice.below(60);
            let data = links.wrapping_mul(4).wrapping_add(4);
            let label = data.wrapping_add(dimension.wrapping_mul(4));
            for (at, value) in [(68, links), (44, data), (36, label), (28, label.wrapping_add(8))] {
                set(&mut header, at, value);
            }
        }
        1 => {
            let count = LONGS[dice.below(LONGS.len())].cast_unsigned();
            let capacity = count.max(long(&header, 12));
            set(&mut header, 20, count);
            set(&mut header, 12, capacity);
        }
        2 => {
            // more or less components, and everything else as they ask for
            let (data, dimension) = (long(&header, 44), 1_u64 << dice.below(40));
            let label = data.wrapping_add(dimension * 4);
            set(&mut header, 36, label);
            set(&mut header, 28, label.wrapping_add(8));
        }
        3 => header.truncate(dice.below(101)),
        _ => {
            let (at, len) = dice.one_of(&FIELDS);
            let new = bytes(dice, len);
            header[at..at + len].copy_from_slice(&new);
        }
    }
    header
}

/// Changes one file of the folder, and says which and how.
pub(crate) fn change(dice: &mut Dice, folder: &Path) -> String {
    let name = dice.one_of(&FILES);
    let path = folder.join(name);
    let Ok(before) = fs::read(&path) else { return format!("{name} is not there") };
    let after = match (name, dice.below(6)) {
        (_, 0) => {
            let len = dice.below(before.len() + 1);
            File::options().write(true).open(&path).unwrap().set_len(len as u64).unwrap();
            return format!("{name} is cut to {len}");
        }
        (_, 1) if dice.below(2) == 0 => {
            fs::remove_file(&path).unwrap();
            return format!("{name} is gone");
        }
        (_, 1) => {
            let len = 1_u64 << dice.below(24);
            File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
            return format!("{name} has {len} bytes");
        }
        ("index_metadata.pickle", _) => pickle(dice, &before),
        ("header.bin", _) => header(dice, &before),
        _ => {
            let mut after = before.clone();
            let len = [1, 4, 8][dice.below(3)].min(after.len());
            let at = dice.below(after.len() - len + 1);
            let new = bytes(dice, len);
            after[at..at + len].copy_from_slice(&new);
            after
        }
    };
    fs::write(&path, after).unwrap();
    format!("{name} is changed")
}
