//! A disk that fills up under the file server: uploads fail with a reason, nothing else does, and space comes back.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io};

use serde_json::Value;

use crate::program::{Ended, Program};
use crate::rounds::Counted;
use crate::world::{Files, Folder, Side, World};
use crate::{Outcome, Settings};

/// Bytes of the disk, of each payload, and how much room the filler leaves
const DISK: u64 = 24 << 20;
const PAYLOAD: usize = 1 << 20;
const ROOM: u64 = 3 << 20;

/// How long a refused upload may take to say so: it is not tried again
const REFUSAL: Duration = Duration::from_secs(10);

/// A small file system of its own; unmounted when dropped
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts it
    ///
    /// # Errors
    /// Why this machine has none: mounting is root's.
    pub(crate) fn mount(at: &Path) -> Result<Self, String> {
        let size = format!("size={DISK}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self(at.to_owned())),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes all but `room` bytes
    fn fill(&self, room: u64) -> io::Result<PathBuf> {
        let filler = self.0.join("filler");
        let size = usize::try_from(DISK - room).unwrap_or(usize::MAX);
        fs::write(&filler, vec![0; size])?;
        Ok(filler)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A lazy unmount, since a server that was just killed may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

pub(crate) async fn full(world: &mut World, settings: &Settings, disk: &Disk) -> Outcome<Counted> {
    let folder = disk.0.join("files");
    fs::create_dir_all(&folder)?;
    let before = std::mem::replace(&mut world.files, Files::start(world.program.clone(), Folder::Given(folder)).await?);
    drop(before);
    let filler = disk.fill(ROOM)?;

    let receiving = {
        let words = ["receive", "chaos.disk", "--json", "--for", "60s"];
        Program::start(&world.program, &words, &world.settings(Side::Receiver))?
    };
    receiving.ready("subscribed to").await?;
    let payload = settings.folder.join("payload.bin");
    fs::write(&payload, vec![7; PAYLOAD])?;

    let mut counted = Counted { faults: 1, ..Counted::default() };
    let mut stored = 0;
    for _ in 0..8 {
        let (ended, took) = send(world, &payload).await?;
        counted.sent += 1;
        if ended.status.success() {
            stored += 1;
            continue;
        }
        counted.reported += 1;
        if counted.reported > 1 {
            // The others say the same as the first.
            continue;
        }
        let (code, said) = (ended.status.code(), ended.notes.join("\n"));
        counted.check(code == Some(4), || format!("a full disk: exit {code:?}\n{said}"));
        counted.check(took < REFUSAL, || format!("a full disk was tried for {took:?}\n{said}"));
        counted.check(said.contains("full") || said.contains("space"), || format!("the cause is not named:\n{said}"));
    }
    let refused = counted.reported;
    counted.check(stored > 0 && refused > 0, || format!("{stored} uploads were stored, {refused} refused"));

    fs::remove_file(filler)?;
    let (ended, _) = send(world, &payload).await?;
    counted.sent += 1;
    stored += u64::from(ended.status.success());
    counted.check(ended.status.success(), || format!("space came back, and still:\n{}", ended.notes.join("\n")));

    let mut lines = receiving.lines();
    let all = lines.wait_for(|lines| u64::try_from(lines.len()).is_ok_and(|count| count >= stored));
    let arrived = tokio::time::timeout(Duration::from_secs(20), all).await.is_ok();
    counted.check(arrived, || "a message whose upload was stored did not arrive".to_owned());
    receiving.terminate()?;
    let ended = receiving.end(Duration::from_secs(20)).await?;
    let whole = |line: &String| {
        serde_json::from_str::<Value>(line).is_ok_and(|message| {
            message["error"].is_null() && message["payloads"][0]["size"].as_u64() == u64::try_from(PAYLOAD).ok()
        })
    };
    counted.handled = u64::try_from(ended.output.iter().filter(|line| whole(line)).count())?;
    counted.lost = counted.sent - counted.handled;
    let (lost, reported) = (counted.lost, counted.reported);
    counted
        .check(lost == reported, || format!("{lost} did not arrive whole, {reported} are reported{}", ended.quoted()));
    Ok(counted)
}

async fn send(world: &World, payload: &Path) -> Outcome<(Ended, Duration)> {
    let file = format!("blob=@{}", payload.display());
    let began = Instant::now();
    let sending =
        Program::start(&world.program, &["send", "chaos.disk", "--file", &file], &world.settings(Side::Sender))?;
    let ended = sending.end(Duration::from_secs(60)).await?;
    Ok((ended, began.elapsed()))
}
