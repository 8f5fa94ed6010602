//! Arrow from a stranger, damaged at random: it ends in a table or an error, in bounded memory.
#![allow(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "test code"
)]

#[path = "table_support/measured.rs"]
mod measured;
mod table_support;

use std::sync::Arc;

use arrow_array::DictionaryArray;
use arrow_array::types::Int8Type;
use arrow_ipc::CompressionType;
use bytes::Bytes;
use measured::{bound, fell_to_the_fence, read, turn};
use natsbridge_core::{Table, TableLimits};
use table_support::{batch, columns, file, samples, stream};

/// Inputs of every kind, small enough to be damaged many times
fn bases() -> Vec<(String, Bytes)> {
    let mut bases = samples();
    let words =
        |words: Vec<&str>| batch(vec![("w", Arc::new(words.into_iter().collect::<DictionaryArray<Int8Type>>()))]);
    let two = Table::new(words(vec![]).schema(), vec![words(vec!["a", "b"]), words(vec!["c", "a", "d"])]).unwrap();
    bases.push(("two dictionaries".to_owned(), two.to_ipc().unwrap()));
    for (name, array) in columns(9, 1) {
        let one = batch(vec![(name, array)]);
        bases.push((name.to_owned(), stream(&one, None)));
        bases.push((format!("{name}, file"), file(&one, None)));
        bases.push((format!("{name}, zstd"), stream(&one, Some(CompressionType::ZSTD))));
        bases.push((format!("{name}, lz4"), file(&one, Some(CompressionType::LZ4_FRAME))));
    }
    bases
}

/// A small generator with a fixed seed: a failure is the same failure again
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }
}

/// Values that lengths and offsets break at
const EDGES: [i64; 14] = [0, 1, -1, 2, 7, 8, 64, 127, 128, 255, 65_536, i32::MAX as i64, i64::MAX, i64::MIN];

fn mutate(base: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = base.to_vec();
    for _ in 0..=dice.roll(3) {
        // The metadata decides; most of it lies in the first and the last quarter.
        let quarter = bytes.len().div_ceil(4);
        let at = match dice.roll(3) {
            0 => dice.roll(bytes.len()),
            1 => dice.roll(quarter),
            _ => bytes.len() - 1 - dice.roll(quarter),
        };
        match dice.roll(6) {
            0 => bytes[at] = dice.roll(256) as u8,
            1 => bytes[at] ^= 1 << dice.roll(8),
            2 => bytes[at] = bytes[at].wrapping_add(if dice.roll(2) == 0 { 1 } else { 255 }),
            kind => {
                let edge = EDGES[dice.roll(EDGES.len())].to_le_bytes();
                let width = if kind == 3 { 4 } else { 8 };
                let at = at / width * width;
                for (byte, edge) in bytes[at..].iter_mut().zip(&edge[..width]) {
                    *byte = *edge;
                }
            }
        }
    }
    bytes
}

#[test]
fn mutated_inputs_are_read_or_refused_in_bounded_memory() {
    let _turn = turn();
    let rounds = std::env::var("TABLE_MUTATIONS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(24_000);
    let bases = bases();
    let mut dice = Dice(0x5eed_0f7a_b1e5);
    let (mut read_well, mut fenced, mut most) = (0, Vec::new(), (0.0, String::new()));
    let limits = TableLimits::default().max_bytes(64 << 20);
    for round in 0..rounds {
        let (name, base) = &bases[round % bases.len()];
        let bytes = Bytes::from(mutate(base, &mut dice));
        let (result, peak) = read(&bytes, &limits);
        let compressed = name.contains("lz4") || name.contains("zstd");
        let allowed = bound(&bytes) + if compressed { (64 << 20) + (32 << 20) } else { 16 << 20 };
        assert!(peak <= allowed, "{name}, round {round}: {peak} bytes for an input of {}", bytes.len());
        let share = peak as f64 / bytes.len() as f64;
        if !compressed && share > most.0 {
            most = (share, name.clone());
        }
        if fell_to_the_fence(&result) {
            fenced.push((name, round));
        }
        if let Ok(table) = result {
            read_well += 1;
            // What was let in can be used.
            let _ = table.to_rows_within(&limits);
        }
    }
    eprintln!(
        "{rounds} inputs, {read_well} read, {} fenced, at most {:.1} times the input ({})",
        fenced.len(),
        most.0,
        most.1
    );
    assert!(fenced.is_empty(), "{fenced:?}");
    assert!(read_well > rounds / 20, "the mutations hardly reach the reader: {read_well}");
}

#[test]
fn inputs_cut_at_any_byte_are_refused_or_lose_whole_batches() {
    let _turn = turn();
    for (name, base) in bases() {
        let whole = Table::from_ipc(&base, &TableLimits::default()).unwrap();
        for end in (0..base.len()).step_by(1 + base.len() / 2048) {
            let cut = base.slice(..end);
            let (result, peak) = read(&cut, &TableLimits::default());
            assert!(peak <= bound(&cut) + (32 << 20), "{name} cut at {end}: {peak}");
            assert!(!fell_to_the_fence(&result), "{name} cut at {end}");
            // A stream may end without its mark, so one cut between messages is a shorter stream.
            if let Ok(table) = result {
                assert_eq!(table.schema(), whole.schema());
                assert_eq!(table.batches(), &whole.batches()[..table.batches().len()], "{name} cut at {end}");
            }
        }
    }
}
