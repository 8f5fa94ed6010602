//! The program `natsbridge`.
fn main() {}
