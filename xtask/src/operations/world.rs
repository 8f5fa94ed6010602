//! What an operator runs, from the operator's own files: a secured NATS, the file server behind nginx, programs, Prometheus.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use serde_json::Value;

use crate::operations::checks::{command, read};
use crate::operations::prometheus::Prometheus;
use crate::operations::tools::Tools;
use crate::process::{self, Deadline, Process};
use crate::servers::{clean, free_address};
use crate::workspace::TempFolder;

/// How long anything may take; far more than it does
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

const TOKEN: &str = "t0f6c2a9e";

/// Password of each user in nats.conf
const USERS: [&str; 5] = ["sender", "receiver", "replier", "probe", "observer"];

/// Everything that runs; ended with its owner
pub(super) struct World {
    natsbridge: PathBuf,
    nats_server: PathBuf,
    nginx_program: Option<PathBuf>,
    /// What each name of a file stands for here: an address, a folder
    places: BTreeMap<&'static str, String>,
    pub(super) nats: Option<Process>,
    pub(super) serve: Option<Process>,
    nginx: Option<Process>,
    programs: Vec<Process>,
    pub(super) prometheus: Option<(Prometheus, Process)>,
    /// The file server's folder is a small disk of its own
    pub(super) small_disk: Option<SmallDisk>,
    /// The last: what runs in it has to be gone, and the disk unmounted
    folder: TempFolder,
}

impl World {
    pub(super) fn start(natsbridge: &Path, tools: &Tools) -> Result<Self> {
        let folder = TempFolder::create()?;
        let mut places = BTreeMap::new();
        for name in ["nats", "monitor", "files", "https", "serve", "probe", "receive", "reply", "stray", "prometheus"] {
            places.insert(name, free_address()?);
        }
        let mut world = Self {
            natsbridge: natsbridge.to_owned(),
            nats_server: tools.nats_server.clone(),
            nginx_program: tools.nginx.clone(),
            folder,
            places,
            nats: None,
            serve: None,
            nginx: None,
            programs: Vec::new(),
            prometheus: None,
            small_disk: None,
        };
        for name in ["tls", "state/files", "state/received"] {
            fs::create_dir_all(world.path(name))?;
        }
        world.authority()?;
        world.certificate("nats", 30)?;
        world.certificate("files", 30)?;
        world.small_disk = SmallDisk::mount(&world.path("state/files"));
        world.start_nats()?;
        world.start_serve()?;
        world.start_nginx()?;
        let script = "#!/bin/sh\ncat\n";
        let replier = world.write("lab-reply", script)?;
        fs::set_permissions(&replier, Permissions::from_mode(0o700))?;
        for unit in ["receive", "reply", "probe"] {
            let program = world.start_unit(unit, unit_user(unit), &[])?;
            world.programs.push(program);
        }
        world.start_prometheus(tools)?;
        Ok(world)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    pub(super) fn address(&self, name: &str) -> &str {
        self.places.get(name).map_or("", String::as_str)
    }

    fn port(&self, name: &str) -> &str {
        self.address(name).rsplit(':').next().unwrap_or_default()
    }

    /// The file server's URL, which is nginx's where there is one
    fn files_url(&self) -> String {
        match self.nginx_program {
            Some(_) => format!("https://localhost:{}", self.port("https")),
            None => format!("http://{}", self.address("files")),
        }
    }

    fn openssl(&self, words: &[&str]) -> Result<()> {
        process::output(Command::new("openssl").current_dir(self.path("tls")).args(words)).map(drop)
    }

    fn authority(&self) -> Result<()> {
        self.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "authority.key"])?;
        let subject = ["-subj", "/CN=operations authority", "-days", "30", "-out", "authority.pem"];
        self.openssl(&[&["req", "-x509", "-key", "authority.key"], &subject[..]].concat())
    }

    /// A certificate for this machine, valid for so many days from now on; with -1 it has expired
    pub(super) fn certificate(&self, name: &str, days: i32) -> Result<()> {
        let [key, request, pem] = ["key", "csr", "pem"].map(|end| format!("{name}.{end}"));
        self.write("tls/names", "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")?;
        if !self.path("tls").join(&key).exists() {
            self.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &key])?;
        }
        self.openssl(&["req", "-new", "-key", &key, "-subj", "/CN=localhost", "-out", &request])?;
        let signer = ["-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-extfile", "names"];
        let days = days.to_string();
        self.openssl(&[&["x509", "-req", "-in", &request, "-days", &days, "-out", &pem], &signer[..]].concat())
    }

    /// A file of docs/operations with this world's places in it
    fn placed(&self, text: &str) -> String {
        let tls = self.path("tls").display().to_string();
        let state = self.path("state").display().to_string();
        [
            ("/etc/natsbridge/tls", tls.as_str()),
            ("/var/lib/natsbridge", &state),
            ("/usr/local/libexec/lab-reply", &self.path("lab-reply").display().to_string()),
            ("0.0.0.0:4222", self.address("nats")),
            ("127.0.0.1:8222", self.address("monitor")),
            ("listen 443 ssl", &format!("listen {} ssl", self.address("https"))),
            ("127.0.0.1:8080", self.address("files")),
            ("127.0.0.1:9464", self.address("serve")),
            ("127.0.0.1:9465", self.address("probe")),
            ("127.0.0.1:9466", self.address("receive")),
            ("127.0.0.1:9467", self.address("reply")),
            ("https://files.example.com", &self.files_url()),
            ("files.example.com", "localhost"),
        ]
        .into_iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    pub(super) fn start_nats(&mut self) -> Result<()> {
        let path = self.write("nats.conf", &self.placed(&read("nats.conf")?))?;
        let mut command = Command::new(&self.nats_server);
        command.arg("--config").arg(path);
        for user in USERS {
            command.env(format!("{}_PASSWORD", user.to_uppercase()), password(user));
        }
        let mut nats = Process::spawn("nats-server", &mut command)?;
        nats.wait_for(Deadline::after(PATIENCE), |line| line.text.contains("Server is ready").then_some(()))?;
        println!("ok  nats.conf: nats-server runs with it");
        self.nats = Some(nats);
        Ok(())
    }

    pub(super) fn start_serve(&mut self) -> Result<()> {
        self.serve = Some(self.start_unit("serve", "", &[])?);
        Ok(())
    }

    fn start_nginx(&mut self) -> Result<()> {
        let Some(nginx) = &self.nginx_program else { return Ok(()) };
        let site = self.write("site.conf", &self.placed(&read("nginx.conf")?))?;
        let home = self.folder.path().display();
        let mut config = format!(
            "daemon off;\nmaster_process off;\npid {home}/nginx.pid;\nerror_log {home}/nginx.log;\nevents {{}}\nhttp {{\n"
        );
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            config.push_str(&format!("{kind}_temp_path {home}/{kind};\n"));
        }
        config.push_str(&format!("include {};\n}}\n", site.display()));
        let config = self.write("nginx.conf", &config)?;
        let words = |command: &mut Command| {
            command.arg("-p").arg(self.folder.path()).arg("-e").arg(self.path("nginx.log")).arg("-c").arg(&config);
        };
        let mut check = Command::new(nginx);
        words(&mut check);
        process::output(check.arg("-t"))?;
        let mut run = Command::new(nginx);
        words(&mut run);
        self.nginx = Some(Process::spawn("nginx", &mut run)?);
        println!("ok  nginx.conf: nginx runs with it");
        Ok(())
    }

    /// Lets nginx take its certificate again: started anew, since a single process can't reload, and workers of their own
    /// would outlive this test if it is killed
    pub(super) fn reload_certificate(&mut self) -> Result<()> {
        drop(self.nginx.take());
        self.start_nginx()
    }

    /// Starts a unit's program as systemd does, and waits until it says that it is ready
    fn start_unit(&self, unit: &'static str, user: &str, more: &[&str]) -> Result<Process> {
        let words = command(&self.placed(&read(&format!("systemd/natsbridge-{unit}.service"))?))?;
        // Three seconds of a test have to be worth an hour.
        let words: Vec<_> = words.iter().map(|word| if word == "10s" { "1s" } else { word.as_str() }).collect();
        let mut program = self.program(user);
        program.args(words.get(1..).unwrap_or_default()).args(more);
        self.start_and_await(unit, program)
    }

    pub(super) fn start_and_await(&self, unit: &'static str, mut program: Command) -> Result<Process> {
        let socket = self.path(&format!("{unit}.notify"));
        let _ = fs::remove_file(&socket);
        let listening = UnixDatagram::bind(&socket).context("cannot make a socket")?;
        listening.set_read_timeout(Some(Duration::from_millis(200))).context("socket")?;
        let mut process = Process::spawn(unit, program.env("NOTIFY_SOCKET", &socket))?;
        let deadline = Deadline::after(PATIENCE);
        let mut said = [0; 64];
        loop {
            match listening.recv(&mut said) {
                Ok(length) if said.get(..length) == Some(b"READY=1") => break,
                _ => process.check_alive()?,
            }
            deadline.check(unit, "did not say that it is ready")?;
        }
        println!("ok  natsbridge-{unit}.service: its program starts and tells systemd");
        Ok(process)
    }

    /// The program with the settings that a unit's environment file gives a user
    pub(super) fn program(&self, user: &str) -> Command {
        let mut program = clean(&self.natsbridge);
        program.env("FILESERVER_TOKEN", TOKEN).env_remove("S3_URL").current_dir(self.folder.path());
        program.env("NO_PROXY", "*").env("no_proxy", "*");
        if user.is_empty() {
            return program;
        }
        let authority = self.path("tls/authority.pem");
        program
            .env("NATS_URL", format!("tls://localhost:{}", self.port("nats")))
            .env("NATS_USER", user)
            .env("NATS_PASSWORD", password(user))
            .env("NATS_INBOX_PREFIX", format!("_INBOX.{user}"))
            .env("NATS_CA", &authority)
            .env("FILESERVER_URL", self.files_url())
            .env("FILESERVER_CA", &authority);
        program
    }

    fn start_prometheus(&mut self, tools: &Tools) -> Result<()> {
        let Some(program) = &tools.prometheus else { return Ok(()) };
        // The same rules, without the patience that an operator's night needs.
        let rules: String =
            read("alerts.yml")?
                .lines()
                .map(|line| {
                    if line.trim().starts_with("for: ") { "        for: 1s\n".to_owned() } else { format!("{line}\n") }
                })
                .collect();
        self.write("alerts.yml", &rules)?;
        let config = self.placed(&read("prometheus.yml")?).replace(": 15s", ": 1s");
        let stray = format!("      - targets: [\"{}\"]\n        labels: {{ program: stray }}\n", self.address("stray"));
        let config = self.write("prometheus.yml", &(config + &stray))?;
        let mut run = Command::new(program);
        run.arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", self.path("metrics").display()))
            .arg(format!("--web.listen-address={}", self.address("prometheus")));
        let process = Process::spawn("prometheus", &mut run)?;
        let prometheus = Prometheus { address: self.address("prometheus").to_owned() };
        self.prometheus = Some((prometheus, process));
        Ok(())
    }

    /// Runs a command to its end; returns its exit code, and all that it printed
    pub(super) fn output(&self, user: &str, words: &[&str]) -> Result<(Option<i32>, String)> {
        let output = self.program(user).args(words).output().context("cannot start natsbridge")?;
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        Ok((output.status.code(), text))
    }

    /// Everything works: each user's doctor is green, messages arrive, requests are answered
    pub(super) fn check_health(&self) -> Result<()> {
        for (user, words) in [
            ("sender", &["doctor", "lab.results", "--only", "send", "--json"][..]),
            ("receiver", &["doctor", "lab.results", "--only", "receive", "--json"]),
            ("probe", &["doctor", "ops.probe", "--json"]),
        ] {
            let (code, text) = self.output(user, words)?;
            let said: Value = serde_json::from_str(text.lines().next().unwrap_or_default())
                .with_context(|| format!("doctor of {user} ended with {code:?}: {text}"))?;
            let checks = said["checks"].as_array().cloned().unwrap_or_default();
            let bad: Vec<_> = checks.iter().filter(|check| check["state"] != "ok").collect();
            if code != Some(0) || !bad.is_empty() || checks.len() < 8 {
                bail!("doctor of {user} ended with {code:?}: {bad:?}\n{text}");
            }
            println!("ok  doctor of {user}: {} checks", checks.len());
        }
        let large = self.path("large");
        fs::write(&large, vec![7; 3_000_000]).context("cannot write a file")?;
        for (user, words, wanted) in [
            ("sender", &["send", "lab.results", "--file", "large=@large", "--text", "note=x", "--ack", "1"][..], ""),
            ("sender", &["request", "requests.echo", "--text", "question=what"], "what"),
            ("probe", &["bench", "--subject", "ops.probe", "--messages", "500", "--link-size", "4MB"], "latency"),
        ] {
            let (code, text) = self.output(user, words)?;
            if code != Some(0) || !text.contains(wanted) {
                bail!("natsbridge {} ended with {code:?}: {text}", words.join(" "));
            }
            println!("ok  natsbridge {} by {user}", words.join(" "));
        }
        for (user, subject) in [("sender", "ops.probe"), ("receiver", "lab.results"), ("replier", "lab.results")] {
            let (code, text) = self.output(user, &["send", subject, "--text", "note=x"])?;
            if code != Some(3) || !text.to_lowercase().contains("permission") {
                bail!("{user} may publish to {subject}: {code:?} {text}");
            }
        }
        println!("ok  nobody may publish where that is not theirs");
        for user in USERS {
            let others = USERS.iter().filter(|other| **other != user).map(|other| format!("_INBOX.{other}.>"));
            for subject in others.chain(["_INBOX.>".to_owned()]) {
                let (code, text) = self.output(user, &["receive", &subject, "--for", "1s"])?;
                if code != Some(3) || !text.to_lowercase().contains("permission") {
                    bail!("{user} may read {subject}: {code:?} {text}");
                }
            }
        }
        println!("ok  nobody may read the inbox of another user");
        Ok(())
    }
}

fn unit_user(unit: &str) -> &'static str {
    match unit {
        "receive" => "receiver",
        "reply" => "replier",
        _ => "probe",
    }
}

fn password(user: &str) -> String {
    format!("p_{user}_7c1e")
}

/// A small file system of its own in memory; unmounted with its owner
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Nothing where this user may mount none
    fn mount(path: &Path) -> Option<Self> {
        let mount =
            process::output(Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs"]).arg(path));
        match mount {
            Ok(_) => Some(Self(path.to_owned())),
            Err(failure) => {
                println!("skipped: a full disk, because no small one can be mounted ({failure:#})");
                None
            }
        }
    }

    /// Leaves it this many bytes
    pub(super) fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("filler");
        let fill = format!("head -c 100m /dev/zero > '{}' 2>/dev/null; true", path.display());
        process::output(Command::new("sh").args(["-c", &fill]))?;
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = process::output(Command::new("umount").arg("-l").arg(&self.0));
    }
}
