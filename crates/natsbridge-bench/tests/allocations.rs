//! The regression guard: allocations per call are counted, which repeats exactly, unlike seconds.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "test code")]

use natsbridge_bench::allocations::{Case, Counted, copied};

fn counted(call: &mut dyn FnMut()) -> Counted {
    let info = allocation_counter::measure(call);
    Counted { times: info.count_total, bytes: info.bytes_total }
}

#[test]
fn calls_allocate_no_more_often_than_their_limits() {
    let counts: Vec<_> =
        Case::all().unwrap().iter().map(|case| (case.name, case.count(counted).times, case.limit)).collect();
    let table: String =
        counts.iter().map(|(name, times, limit)| format!("\n{times:>5} of {limit:>5}  {name}")).collect();
    println!("{table}");
    assert!(counts.iter().all(|(_, times, limit)| times <= limit), "allocations and their limits:{table}");
}

#[test]
fn allocation_count_is_the_same_every_time() {
    for case in Case::all().unwrap() {
        let counts: Vec<Counted> = (0..3).map(|_| case.count(counted)).collect();
        assert!(counts.iter().all(|count| count == &counts[0]), "{}: {counts:?}", case.name);
    }
}

#[test]
fn columns_of_a_large_table_are_not_copied() {
    for line in copied(counted).unwrap() {
        assert_eq!(line.met(), Some(true), "{}", line.to_json());
    }
}

#[test]
fn allocations_are_counted() {
    let counted = counted(&mut || drop(std::hint::black_box(vec![1_u8; 1_000])));
    assert_eq!(counted, Counted { times: 1, bytes: 1_000 });
}
