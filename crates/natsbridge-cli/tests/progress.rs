//! What is drawn on a terminal: progress bars of `send` and `receive --save`, and `watch` with its key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]
#![cfg(target_os = "linux")]

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

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

/// Checks that a bar was drawn with its speed, was part of the way, and is gone
fn check((bars, screen): &(Vec<String>, String), begins: &str, ends: &str) {
    let whole = |bar: &&String| bar.starts_with(begins) && bar.contains("/400.00 MB");
    assert!(bars.iter().filter(whole).count() > 1, "{bars:?}");
    assert!(bars.iter().any(|bar| bar.contains(" MB/400.00 MB")), "part of the way: {bars:?}");
    assert!(bars.iter().any(|bar| bar.contains("B/s")), "no speed: {bars:?}");
    assert!(!screen.contains(['↑', '↓']) && screen.contains(ends), "{screen}");
}

fn signal(signal: &str, id: u32) {
    assert!(Command::new("kill").args([signal, &id.to_string()]).status().unwrap().success());
}

#[test]
fn slow_upload_and_download_are_drawn_and_cleared() {
    let world = World::start();
    std::fs::File::create(world.path("film")).unwrap().set_len(400_000_000).unwrap();
    let receiving = on_terminal(&world, "receive s --save saved --count 1 --ack");
    let receiving = std::thread::spawn(move || bars(receiving));
    // A server that stands still makes each transfer last longer than a second.
    let server = world.files.id();
    signal("-STOP", server);
    let sending = on_terminal(&world, "send s --file a\u{202e}-very-long-name-of-a-film=@film --ack 1");
    let sending = std::thread::spawn(move || bars(sending));
    std::thread::sleep(Duration::from_millis(2_500));
    signal("-CONT", server);
    std::fs::create_dir_all(world.path("saved")).unwrap();
    unfinished(&world.path("saved"));
    signal("-STOP", server);
    std::thread::sleep(Duration::from_millis(1_500));
    signal("-CONT", server);
    check(&sending.join().unwrap(), r"↑ a\u{202e}-very-long", "acknowledged");
    check(&receiving.join().unwrap(), r"↓ a\u{202e}-very-long", "saved as saved/");
}

#[test]
fn quick_transfers_and_pipes_have_no_bars() {
    let world = World::start();
    std::fs::File::create(world.path("film")).unwrap().set_len(600_000).unwrap();
    let (drawn, _) = bars(on_terminal(&world, "send s --file film=@film"));
    assert!(drawn.is_empty(), "{drawn:?}");
    let piped = run(&mut world.program(["send", "s", "--file", "film=@film"]));
    assert_eq!((piped.code, piped.stderr.as_str()), (Some(0), ""));
}

#[test]
fn watch_on_a_terminal_ends_with_q() {
    use std::io::Write as _;
    let world = World::start();
    let mut terminal = on_terminal(&world, "watch '>'");
    let mut watch = Running::start(terminal.stdin(Stdio::piped()));
    let said = watch.line();
    assert!(said.contains("watching >; q ends it"), "{said}");
    let mut keys = watch.stdin();
    keys.write_all(b"xq").unwrap();
    let ended = watch.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    assert!(ended.took < Duration::from_secs(10), "{:?}", ended.took);
}
