//! The same message in the other languages: whole `smartsend` and `smartreceive`, each in its own process.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use natsbridge::{Data, ReceiveOptions, SendOptions, smartreceive, smartsend};
use natsbridge_core::{PayloadType, Value};

use crate::report::{FASTER, Line, Samples, Target};
use crate::sample::{Effort, consuming, in_turn, median, plain, ratio};
use crate::{Failure, workload};

/// A language whose program can be asked for times
#[derive(Debug)]
struct Peer {
    name: &'static str,
    program: &'static str,
    script: &'static str,
    /// The implementation, by the path from `testdata`
    module: &'static str,
}

const PEERS: [Peer; 2] = [
    Peer { name: "Node", program: "node", script: "bench.mjs", module: "../clients/javascript/src/node.js" },
    Peer { name: "Python", program: "python3", script: "bench.py", module: "peers/python/natsbridge.py" },
];

impl Peer {
    /// Seconds of an encode and of a decode, or why there are none
    fn times(&self, testdata: &Path, folder: &Path) -> Result<[f64; 2], Failure> {
        let module = testdata.join(self.module);
        let said = script(self.program.as_ref(), self.script, &[module.as_os_str(), folder.as_os_str()])?;
        let times: HashMap<String, [f64; 2]> = serde_json::from_slice(&said)?;
        times.get("binary").copied().ok_or_else(|| "no times were printed".into())
    }
}

/// What one of the scripts in `peers/` prints
pub(crate) fn script(program: &Path, name: &str, args: &[&OsStr]) -> Result<Vec<u8>, Failure> {
    let mut command = Command::new(program);
    let output = command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name))
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("{} can't be started: {error}", program.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().rfind(|line| line.contains("Error")).unwrap_or("it failed silently");
        return Err(said.trim().to_owned().into());
    }
    Ok(output.stdout)
}

/// How many times longer the other languages take for 10 KB binary
///
/// A language that is not installed, or has no implementation here, is left out, and `note` hears why.
///
/// # Errors
/// What `smartsend` says of the message.
pub fn all(effort: Effort, testdata: &Path, note: &mut dyn FnMut(String)) -> Result<Vec<Line>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sending, receiving) = (SendOptions::default(), ReceiveOptions::default());
    let payload = workload::bytes(10_000);
    let data = || [("payload", Data::Value(Value::Bytes(payload.clone())), PayloadType::Binary)];
    let (_, json) = runtime.block_on(smartsend("chat.room", data(), &sending))?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("binary.json"), &json)?;

    let mut lines = Vec::new();
    for peer in &PEERS {
        let mut ours = [Vec::new(), Vec::new()];
        let mut theirs = [Vec::new(), Vec::new()];
        for _ in 0..effort.jobs {
            let times = match peer.times(testdata, folder.path()) {
                Ok(times) => times,
                Err(error) => {
                    note(format!("{} is left out: {error}", peer.name));
                    break;
                }
            };
            let measured = in_turn(
                Effort { rounds: 5, ..effort },
                vec![
                    consuming(data, |data| runtime.block_on(smartsend("chat.room", data, &sending))),
                    plain(|| runtime.block_on(smartreceive(&json, &receiving))),
                ],
            );
            for (samples, values) in ours.iter_mut().zip(&measured) {
                samples.push(median(values));
            }
            for (samples, value) in theirs.iter_mut().zip(times) {
                samples.push(value);
            }
        }
        for ((call, ours), theirs) in
            ["encode 10 KB with smartsend", "decode 10 KB with smartreceive"].into_iter().zip(&ours).zip(&theirs)
        {
            if theirs.is_empty() {
                continue;
            }
            let measure = format!("{call}, against {}", peer.name);
            let samples = [Samples::times("Rust", ours), Samples::times(peer.name, theirs)];
            let line = Line::new("languages", measure, ratio(theirs, ours), FASTER);
            lines.push(line.target(Some(Target::AtLeast(1.0))).samples(samples));
        }
    }
    Ok(lines)
}
