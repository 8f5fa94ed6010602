//! Modules use each other in one direction: what a circle joins can be read only as a whole.

use crate::imports::Imports;
use crate::sources::{none, root};

/// Each crate by the file of its root; the circle that may stay; and those that have to go
///
/// The last list only gets shorter: a new circle fails, and so does one that is listed and is gone.
const CRATES: [(&str, &str, &[&str]); 3] = [
    ("natsbridge-core/src/lib.rs", "", &[]),
    (
        "natsbridge/src/lib.rs",
        // Methods of the three chain; a message is the subscriber's.
        "bridge builder subscriber subscriber::message",
        &[],
    ),
    ("natsbridge-cli/src/main.rs", "", &[]),
];

#[test]
fn circles_are_the_known_ones() {
    let mut offenders = Vec::new();
    for (file, allowed, known) in CRATES {
        let imports = Imports::read(&root().join("crates").join(file));
        let mut circles = imports.circles();
        circles.retain(|circle| !within(circle, allowed));
        for circle in circles.iter().filter(|circle| !known.iter().any(|known| within(circle, known))) {
            offenders.push(format!("{file}: new circle {circle:?}{}", imports.among(circle)));
        }
        let gone = known.iter().filter(|known| !circles.iter().any(|circle| within(circle, known)));
        offenders.extend(gone.map(|known| format!("{file}: take it off the list, it is gone: {known:?}")));
    }
    none(&offenders, "modules use each other in one direction");
}

fn within(circle: &[String], of: &str) -> bool {
    circle.iter().all(|module| of.split(' ').any(|name| name == module))
}

#[test]
fn circle_is_found_through_re_exports_and_not_in_tests() {
    let folder = tempfile();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("lib.rs", "mod a;\nmod b;\nmod c;\npub use b::B;\n");
    write("a.rs", "// crate::c::C\nuse crate::{B as Other, c::{self, C}};\nfn a() -> &'static str { \"crate::a\" }\n");
    write("b.rs", "pub struct B;\nimpl B { fn b() { super::a::a() } }\n");
    write("c.rs", "pub struct C;\n#[cfg(test)]\nmod tests {\n    use crate::a::a;\n}\n");
    assert_eq!(Imports::read(&folder.join("lib.rs")).circles(), [["a", "b"]]);
    write("c.rs", "pub struct C;\nfn c() { crate::b::B::b() }\n");
    assert_eq!(Imports::read(&folder.join("lib.rs")).circles(), [["a", "b", "c"]].map(Vec::from));
    std::fs::remove_dir_all(folder).unwrap();
}

fn tempfile() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("natsbridge-modules-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
