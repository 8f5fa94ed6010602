//! Every payload type's encode and decode beside the textbook path and memcpy, in criterion's detail.
#![allow(clippy::unwrap_used, missing_docs, reason = "benchmarks are read, not called")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use natsbridge_bench::codec::Case;
use natsbridge_bench::{bridge, tables, textbook, workload};
use natsbridge_core::{Table, TableLimits};

fn messages(criterion: &mut Criterion) {
    for case in Case::all().unwrap() {
        let json = case.json().unwrap();
        let mut group = criterion.benchmark_group(&case.name);
        group.throughput(Throughput::Bytes(json.len().try_into().unwrap()));
        group.bench_function("encode", |bencher| {
            bencher.iter_batched(
                || case.values.clone(),
                |values| bridge::sealed(values).unwrap().to_json(),
                criterion::BatchSize::SmallInput,
            );
        });
        group.bench_function("encode, textbook", |bencher| {
            bencher.iter(|| textbook::encode(&case.values, &textbook::Stamp::new().unwrap()).unwrap());
        });
        group.bench_function("decode", |bencher| bencher.iter(|| bridge::decode(&json).unwrap()));
        group.bench_function("decode, textbook", |bencher| bencher.iter(|| textbook::decode(&json).unwrap()));
        group.bench_function("memcpy", |bencher| bencher.iter(|| json.to_vec()));
        group.finish();
    }
}

fn arrow_tables(criterion: &mut Criterion) {
    for rows in [10, 10_000, 1_000_000] {
        let table = tables::table(rows).unwrap();
        let stream = table.to_ipc().unwrap();
        let mut group = criterion.benchmark_group(format!("arrowtable of {rows} rows"));
        group.throughput(Throughput::Bytes(stream.len().try_into().unwrap()));
        group.bench_function("write", |bencher| bencher.iter(|| table.to_ipc().unwrap()));
        group.bench_function("write, arrow-ipc", |bencher| bencher.iter(|| textbook::write_table(&table).unwrap()));
        group.bench_function("read", |bencher| {
            bencher.iter(|| Table::from_ipc(&stream, &TableLimits::default()).unwrap());
        });
        group.bench_function("read, arrow-ipc", |bencher| bencher.iter(|| textbook::read_table(&stream).unwrap()));
        group.bench_function("memcpy", |bencher| bencher.iter(|| stream.to_vec()));
        group.finish();
    }
}

fn hostile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hostile");
    for (name, json) in workload::hostile().unwrap() {
        group.bench_function(name, |bencher| bencher.iter(|| bridge::decode(&json).unwrap_err()));
    }
    group.finish();
}

criterion_group!(benches, messages, arrow_tables, hostile);
criterion_main!(benches);
