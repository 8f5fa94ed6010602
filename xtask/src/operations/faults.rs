//! What goes wrong at three in the morning: each fault raises its alert, and the runbook's first command finds it.

use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};
use fs_err as fs;

use crate::operations::prometheus::get;
use crate::operations::world::{PATIENCE, World};
use crate::process::Deadline;
use crate::workspace::root;

pub(super) fn run(world: &mut World) -> Result<()> {
    let Some((prometheus, _)) = &world.prometheus else {
        println!("skipped: the alerts of faults, because there is no prometheus");
        return Ok(());
    };
    // The fifth is the program that has no permission; it comes with its fault.
    prometheus.await_targets_up(4, Deadline::after(PATIENCE))?;
    let firing = prometheus.firing()?;
    let stray = world.address("stray");
    if let Some(alert) = firing.iter().find(|alert| !alert.ends_with(stray)) {
        let page =
            ["serve", "probe", "receive", "reply"].map(|name| get(world.address(name), "/metrics").unwrap_or_default());
        bail!("nothing is wrong, and this alert is raised: {alert}\n{}", page.concat());
    }
    println!("ok  no alert while nothing is wrong");
    wrong_permission(world)?;
    full_disk(world)?;
    expired_certificate(world)?;
    dead_file_server(world)?;
    dead_nats(world)
}

/// Waits for alerts; then the first one's first command has to say these words
fn expect(world: &World, fault: &str, alerts: &[&str], user: &str, subject: &str, words: &[&str]) -> Result<()> {
    let Some((prometheus, _)) = &world.prometheus else { return Ok(()) };
    for alert in alerts {
        prometheus.await_alert(alert, Deadline::after(PATIENCE))?;
    }
    for alert in alerts {
        let command = first_command(alert)?.replace("SUBJECT", subject);
        let said = match command.strip_prefix("natsbridge ") {
            Some(rest) => world.output(user, &rest.split_whitespace().collect::<Vec<_>>())?.1,
            None => {
                let command = command
                    .replace("ADDRESS", world.address("serve"))
                    .replace("DIR", &world.path("state/files").display().to_string());
                let output = Command::new("sh").args(["-c", &command]).output().with_context(|| command.clone())?;
                [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
            }
        };
        let plain = said.split_whitespace().collect::<Vec<_>>().join(" ");
        if !words.iter().any(|word| plain.contains(word)) {
            bail!("{fault}: `{command}` of {alert} does not tell it ({words:?}):\n{said}");
        }
        println!("ok  {fault}: {alert} is raised, and `{command}` tells why");
    }
    Ok(())
}

/// The first command in an alert's section of the runbook
fn first_command(alert: &str) -> Result<String> {
    let runbook = fs::read_to_string(root().join("docs/runbook.md")).context("cannot read the runbook")?;
    command_of(&runbook, alert).ok_or_else(|| anyhow!("the runbook has no command for {alert}"))
}

fn command_of(runbook: &str, alert: &str) -> Option<String> {
    let (_, section) = runbook.split_once(&format!("\n## {alert}\n"))?;
    let section = section.split("\n## ").next()?;
    let (_, step) = section.split_once("*1 min.*")?;
    Some(step.split('`').nth(1)?.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn wrong_permission(world: &World) -> Result<()> {
    let mut stray = world.program("probe");
    stray.args(["probe", "--every", "1s", "--timeout", "2s", "--subject", "lab.secret", "--metrics"]);
    stray.arg(world.address("stray"));
    let stray = world.start_and_await("stray", stray)?;
    let alerts = ["nats_server_errors", "probe_failed"];
    expect(world, "a wrong permission", &alerts, "probe", "lab.secret", &["allow this user to"])?;
    drop(stray);
    Ok(())
}

fn full_disk(world: &World) -> Result<()> {
    let Some(disk) = &world.small_disk else { return Ok(()) };
    let filler = disk.fill()?;
    let alerts = ["fileserver_full", "fileserver_filling", "probe_failed"];
    expect(world, "a full disk", &alerts, "probe", "ops.probe", &["no space left", "100%"])?;
    Ok(fs::remove_file(&filler)?)
}

fn expired_certificate(world: &mut World) -> Result<()> {
    world.certificate("files", -1)?;
    world.reload_certificate()?;
    expect(world, "an expired certificate", &["certificate_expired"], "probe", "ops.probe", &["expired on"])?;
    world.certificate("files", 3)?;
    world.reload_certificate()?;
    expect(world, "an old certificate", &["certificate_expires_soon"], "probe", "ops.probe", &["expires on"])?;
    world.certificate("files", 30)?;
    world.reload_certificate()
}

fn dead_file_server(world: &mut World) -> Result<()> {
    drop(world.serve.take());
    let words = ["upload", "Failed to connect", "refused"];
    expect(world, "a dead file server", &["natsbridge_down", "probe_failed"], "probe", "ops.probe", &words)?;
    world.start_serve()
}

fn dead_nats(world: &mut World) -> Result<()> {
    drop(world.nats.take());
    let alerts = ["nats_disconnected", "probe_failed"];
    expect(world, "a dead NATS server", &alerts, "probe", "ops.probe", &["start nats-server"])?;
    world.start_nats()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_command_of_a_section_is_found() {
        let runbook = "# Alerts\n\n## a\n\n1. *1 min.* Run `natsbridge\n   doctor`; `x`.\n\n## b\n\nno `step`\n";
        assert_eq!(command_of(runbook, "a").as_deref(), Some("natsbridge doctor"));
        assert_eq!(command_of(runbook, "b"), None);
    }
}
