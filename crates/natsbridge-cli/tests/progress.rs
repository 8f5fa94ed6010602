//! Progress bars of `send` and `receive --save` on a terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]
#![cfg(target_os = "linux")]

mod support;

use std::process::{Command, Stdio};

use support::*;

/// Columns of the terminal
const COLUMNS: u16 = 80;

/// A command that runs on a terminal of 80 columns, made by util-linux's script
fn on_terminal(world: &World, words: &str) -> Command {
    let mut terminal = Command::new("script");
    let program = env!("CARGO_BIN_EXE_natsbridge");
    terminal.args(["-qefc", &format!("stty cols {COLUMNS} rows 24; exec {program} {words}"), "/dev/null"]);
    terminal.env("NATS_URL", world.nats.url()).env("FILESERVER_URL", &world.files_url).env("TERM", "xterm");
    terminal.env_remove("S3_URL").current_dir(world.folder.path()).stdin(Stdio::null());
    terminal
}

/// Runs a command and returns the bars that its terminal showed, and its last screen
fn bars(mut terminal: Command) -> (Vec<String>, String) {
    let output = terminal.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let mut parser = vt100::Parser::new(24, COLUMNS, 0);
    let mut bars = Vec::new();
    for piece in output.stdout.split_inclusive(|byte| matches!(byte, b'\r' | b'\n' | b'\x1b')) {
        parser.process(piece);
        let screen = parser.screen();
        assert!((0..24).all(|row| !screen.row_wrapped(row)), "a line is too long: {}", screen.contents());
        let rows = screen.rows(0, COLUMNS);
        bars.extend(rows.filter(|row| row.starts_with(['↑', '↓'])));
    }
    (bars, parser.screen().contents())
}

/// Checks that a bar was drawn, was part of the way, and is gone
fn check((bars, screen): &(Vec<String>, String), begins: &str, ends: &str) {
    let whole = |bar: &&String| bar.starts_with(begins) && bar.contains("/100.00 MB");
    assert!(bars.iter().filter(whole).count() > 1, "{bars:?}");
    assert!(bars.iter().any(|bar| bar.contains(" MB/100.00 MB")), "part of the way: {bars:?}");
    assert!(!screen.contains(['↑', '↓']) && screen.contains(ends), "{screen}");
}

#[test]
fn upload_and_download_are_drawn_and_cleared() {
    let world = World::start();
    std::fs::File::create(world.path("film")).unwrap().set_len(100_000_000).unwrap();
    let receiving = on_terminal(&world, "receive s --save saved --count 1 --ack");
    let receiving = std::thread::spawn(move || bars(receiving));
    let sending = bars(on_terminal(&world, "send s --file a\u{202e}-very-long-name-of-a-film=@film --ack 1"));
    check(&sending, r"↑ a\u{202e}-very-long", "acknowledged");
    check(&receiving.join().unwrap(), r"↓ a\u{202e}-very-long", "saved as saved/");
}
