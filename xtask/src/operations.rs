//! `cargo xtask operations`: the files of docs/operations, each used by its program, and the alerts that faults raise.

mod checks;
mod faults;
mod prometheus;
mod tools;
mod world;

use anyhow::Result;

use crate::workspace;

/// Checks each file alone, then runs them together, breaks what they run, and looks for the alerts
pub(crate) fn run() -> Result<()> {
    let natsbridge = workspace::natsbridge()?;
    let tools = tools::Tools::find()?;
    checks::run(&natsbridge, &tools)?;
    let mut world = world::World::start(&natsbridge, &tools)?;
    world.check_health()?;
    faults::run(&mut world)?;
    println!("\nall of docs/operations works here, but for what is skipped above");
    Ok(())
}
