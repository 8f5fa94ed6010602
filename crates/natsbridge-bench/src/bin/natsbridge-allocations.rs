//! Counts allocations for the report, in a program whose allocator counts.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to its caller by printing")]

use std::process::ExitCode;

use natsbridge_bench::allocations::{self, Counted};
use natsbridge_bench::{Failure, report};

fn main() -> ExitCode {
    match print() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn print() -> Result<(), Failure> {
    let nats_url = std::env::args().nth(1).ok_or("the URL of a NATS server is needed")?;
    let lines: Vec<_> = allocations::all(counted, &nats_url)?.iter().map(report::Line::to_json).collect();
    println!("{}", serde_json::to_string(&lines)?);
    Ok(())
}

fn counted(call: &mut dyn FnMut()) -> Counted {
    let info = allocation_counter::measure(call);
    Counted { times: info.count_total, bytes: info.bytes_total }
}
