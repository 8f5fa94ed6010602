//! `cargo xtask examples`: the examples that need another language, run as their READMEs say and asked what they show.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use fs_err as fs;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::peers;
use crate::process::{Deadline, Line, Process};
use crate::servers::{self, Port, clean};
use crate::tools;
use crate::workspace::{self, TempFolder, root, sha256};

/// How long an example may take once everything is built
const LIMIT: Duration = Duration::from_secs(120);

/// Bytes of a file that travels as a link
const LARGE: usize = 1_200_000;

/// Runs both; `screenshot` names the picture of the page to make
pub(crate) fn run(screenshot: Option<&str>) -> Result<()> {
    let natsbridge = workspace::natsbridge()?;
    table_to_python(&natsbridge).context("table_exchange")?;
    println!("table_exchange: a table to Python and its means back");
    page(&natsbridge, screenshot).context("the web page")?;
    println!("web: text, an image, a table and a large file from a page to Rust and back");
    Ok(())
}

fn table_to_python(natsbridge: &Path) -> Result<()> {
    let python = peers::locate("python-pure")?;
    let program = workspace::built("--example", "table_exchange")?;
    let folder = TempFolder::create()?;
    let deadline = Deadline::after(LIMIT);
    let nats = servers::start_nats(Port::Any, deadline)?;
    let files = servers::start_files(natsbridge, folder.path(), Port::Any, deadline)?;
    let on_servers = |command: &mut Command| {
        command.env("NATS_URL", &nats.url).env("FILESERVER_URL", &files.url);
    };

    let mut answering = python.script(&root().join("crates/natsbridge/examples/table_exchange.py"));
    on_servers(answering.env("PYTHONPATH", root().join("testdata/peers/python")));
    let mut answering = Process::spawn("table_exchange.py", &mut answering)?;
    answering.wait_for(deadline, |line| (line.text == "waiting for tables").then_some(()))?;
    let mut asking = clean(&program);
    on_servers(&mut asking);
    let printed = Process::spawn("table_exchange", &mut asking)?.wait(deadline)?;
    same(&json!(printed), &json!(["3 rows, 2 columns", "cellar   12.00", "kitchen  21.00", "roof     8.00"]))?;
    let heard = "readings: 100000 rows, ['sensor', 'celsius']";
    answering.wait_for(deadline, |line| (line.text == heard).then_some(()))
}

/// The page sends to Rust, then Rust to the page; the servers are set up as the page's README says
fn page(natsbridge: &Path, screenshot: Option<&str>) -> Result<()> {
    let browser = peers::locate("browser")?;
    let web = root().join("clients/javascript/web");
    let folder = TempFolder::create()?;
    let [large, config, saved] = ["large.bin", "nats.conf", "saved"].map(|name| folder.path().join(name));
    let noise: Vec<u8> = (0_u32..).flat_map(|n| Sha256::digest(n.to_le_bytes())).take(LARGE).collect();
    fs::write(&large, &noise).context("cannot write the large file")?;
    let photo = root().join("testdata/demo/photo.png");

    let settings = fs::read_to_string(web.join("nats.conf")).context("cannot read nats.conf")?;
    let [nats, websocket, page] = [servers::free_address()?, servers::free_address()?, servers::free_address()?];
    let settings = settings.replace("127.0.0.1:4222", &nats).replace("127.0.0.1:9222", &websocket);
    fs::write(&config, settings.replace("127.0.0.1:8000", &page)).context("cannot write nats.conf")?;
    let deadline = Deadline::after(LIMIT);
    let mut server =
        Process::spawn("nats-server", Command::new(tools::NATS_SERVER.locate()?).arg("--config").arg(&config))?;
    server.wait_for(deadline, |line| line.text.contains("Server is ready").then_some(()))?;
    let mut serve = clean(natsbridge);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--cors", &format!("http://{page}"), "--dir"]);
    let mut files = Process::spawn("natsbridge serve", serve.arg(folder.path().join("files")))?;
    let url = files.wait_for(deadline, |line| line.text.strip_prefix("listening on ").map(str::to_owned))?;
    let program = || {
        let mut command = clean(natsbridge);
        command.env("NATS_URL", format!("nats://{nats}")).env("FILESERVER_URL", &url);
        command
    };

    let mut receive = program();
    receive.args(["receive", "web.room", "--count", "1", "--json", "--save"]).arg(&saved);
    let mut receiver = Process::spawn("natsbridge receive", &mut receive)?;
    receiver.wait_for(deadline, |line| line.text.contains("subscribed to web.room").then_some(()))?;

    let mut drive = clean(Path::new("node"));
    let port = page.rsplit(':').next().unwrap_or_default();
    drive.arg(web.join("drive.mjs")).args(["--port", port, "--ws", &format!("ws://{websocket}"), "--files", &url]);
    drive.arg("--image").arg(&photo).arg("--file").arg(&large).env("PEER_MODULES", browser.home());
    if let Some(screenshot) = screenshot {
        drive.args(["--screenshot", screenshot]);
    }
    let mut drive = Process::spawn("drive.mjs", &mut drive)?;
    let line_of = |line: &Line, key: &str| serde_json::from_str::<Value>(&line.text).ok()?.get(key).cloned();
    let sent = drive.wait_for(deadline, |line| line_of(line, "sent"))?;
    let table = json!([["sensor", "celsius"], ["kitchen", "21.5"], ["cellar", "12"]]);
    let file = json!({"size": LARGE, "sha256": sha256(&noise)});
    check_shown(&sent, "a page", "hello from a page, grüß dich", &table, &file)?;

    let received = receiver.wait(deadline)?;
    let received = received.first().and_then(|line| serde_json::from_str::<Value>(line).ok()).unwrap_or_default();
    let told =
        |key: &str| received["payloads"].as_array().into_iter().flatten().map(|part| part[key].clone()).collect();
    same(&told("dataname"), &json!(["text", "photo.png", "table", "large.bin"]))?;
    same(&told("payload_type"), &json!(["text", "image", "jsontable", "binary"]))?;
    same(&told("transport"), &json!(["direct", "direct", "direct", "link"]))?;
    let rows = json!([{"sensor": "kitchen", "celsius": 21.5}, {"sensor": "cellar", "celsius": 12}]);
    same(&received["payloads"][0]["value"], &json!("hello from a page, grüß dich"))?;
    same(&received["payloads"][2]["value"], &rows)?;
    for (name, original) in [("photo.png", &photo), ("large.bin", &large)] {
        if fs::read(saved.join(name)).ok() != fs::read(original).ok() {
            bail!("{name} arrived with other bytes");
        }
    }

    let rows_file = folder.path().join("rows.json");
    fs::write(&rows_file, rows.to_string()).context("cannot write the rows")?;
    let at = |name: &str, path: &Path| format!("{name}=@{}", path.display());
    let mut send = program();
    send.args(["send", "web.room", "--sender-name", "Rust", "--text", "note=hello from Rust, Grüße"]);
    send.args(["--image", &at("photo.png", &photo), "--table", &at("table", &rows_file)]);
    send.args(["--file", &at("large.bin", &large)]);
    Process::spawn("natsbridge send", &mut send)?.wait(deadline)?;
    let shown = drive.wait_for(deadline, |line| line_of(line, "shown"))?;
    check_shown(&shown, "Rust", "hello from Rust, Grüße", &table, &file)?;
    drive.wait(deadline).map(drop)
}

/// What the page shows of a message, read from its elements
fn check_shown(shown: &Value, sender: &str, text: &str, table: &Value, file: &Value) -> Result<()> {
    same(&shown["sender"], &json!(sender))?;
    same(&shown["text"], &json!([text]))?;
    same(&shown["images"], &json!([[208, 136]]))?;
    same(&shown["table"], table)?;
    same(&shown["file"], file)?;
    let about = shown["about"].as_array().map(|lines| lines.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    let about = about.unwrap_or_default();
    let ends = [" · text · ", "image · 16.3 kB · direct", " · jsontable · ", "binary · 1.2 MB · link"];
    let right = about.len() == ends.len() && about.iter().zip(ends).all(|(line, end)| line.contains(end));
    if right { Ok(()) } else { Err(anyhow!("the page says {about:?}")) }
}

fn same(found: &Value, expected: &Value) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(anyhow!("expected {expected}, found {found}"))
}
