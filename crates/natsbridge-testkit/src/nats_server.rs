//! Starts a real nats-server for a test, on a free loopback port, and ends it with the test.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use tempfile::TempDir;

/// How long a server may take to listen, or to end after it was asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no server; the text says what to do.
pub type ServerError = Box<dyn std::error::Error + Send + Sync>;

/// A nats-server of its own, killed when it is dropped
///
/// Starting and restarting block the calling thread for some ten milliseconds: fine in a test.
#[derive(Debug)]
pub struct NatsServer {
    binary: PathBuf,
    folder: TempDir,
    port: u16,
    websocket_port: Option<u16>,
    process: Option<Child>,
}

/// What to start; made by [`NatsServer::builder`]
#[derive(Debug, Default)]
pub struct NatsServerBuilder {
    config: String,
    files: Vec<(String, Vec<u8>)>,
    websocket: bool,
    port: Option<u16>,
}

impl NatsServerBuilder {
    /// Adds lines to the configuration file; paths of [`file`](Self::file)s are relative to it
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        self.config.push_str(text);
        self.config.push('\n');
        self
    }

    /// Writes a file beside the configuration
    #[must_use]
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// Asks for a token
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.config(&format!("authorization {{ token: \"{token}\" }}"))
    }

    /// Asks for a user name and password
    #[must_use]
    pub fn user(self, user: &str, password: &str) -> Self {
        self.config(&format!("authorization {{ user: \"{user}\", password: \"{password}\" }}"))
    }

    /// The largest message in bytes (nats-server's own default is 1,048,576)
    #[must_use]
    pub fn max_payload(self, bytes: u64) -> Self {
        self.config(&format!("max_payload: {bytes}\nmax_pending: {}", bytes.max(67_108_864)))
    }

    /// Speaks TLS with this certificate and key (PEM), and asks clients for a certificate of `client_ca` if given
    #[must_use]
    pub fn tls(self, certificate: &str, key: &str, client_ca: Option<&str>) -> Self {
        let mut section = "tls { cert_file: \"server.pem\", key_file: \"server.key\"".to_owned();
        let mut this = self.file("server.pem", certificate).file("server.key", key);
        if let Some(client_ca) = client_ca {
            this = this.file("client-ca.pem", client_ca);
            section.push_str(", ca_file: \"client-ca.pem\", verify: true");
        }
        section.push_str(" }");
        this.config(&section)
    }

    /// Keeps streams in the server's own temporary folder
    #[must_use]
    pub fn jetstream(self) -> Self {
        self.config("jetstream { store_dir: \"jetstream\" }")
    }

    /// Listens for WebSocket connections (without TLS) as well
    #[must_use]
    pub fn websocket(mut self) -> Self {
        self.websocket = true;
        self
    }

    /// Listens on this port instead of a free one
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Starts it and waits until it listens
    ///
    /// # Errors
    /// No nats-server is installed, or it did not start; its own words are in the text.
    pub fn start(self) -> Result<NatsServer, ServerError> {
        let binary = NatsServer::find()?;
        let folder = tempfile::Builder::new().prefix("natsbridge-nats-server-").tempdir()?;
        for (name, content) in &self.files {
            fs::write(folder.path().join(name), content)?;
        }
        let websocket_port = if self.websocket { Some(free_port()?) } else { None };
        let mut config = self.config;
        if let Some(port) = websocket_port {
            writeln!(config, "websocket {{ listen: \"127.0.0.1:{port}\", no_tls: true }}")?;
        }
        fs::write(folder.path().join("server.conf"), config)?;
        let mut server = NatsServer { binary, folder, port: self.port.unwrap_or(0), websocket_port, process: None };
        server.launch()?;
        Ok(server)
    }
}

impl NatsServer {
    /// A server with nothing but defaults
    ///
    /// # Errors
    /// Those of [`NatsServerBuilder::start`].
    pub fn start() -> Result<Self, ServerError> {
        Self::builder().start()
    }

    /// What to start
    #[must_use]
    pub fn builder() -> NatsServerBuilder {
        NatsServerBuilder::default()
    }

    /// The program: the variable `NATS_SERVER`, else on `PATH`, else where `cargo xtask test` installs it
    ///
    /// # Errors
    /// It is in none of these places.
    pub fn find() -> Result<PathBuf, ServerError> {
        if let Some(path) = env::var_os("NATS_SERVER").filter(|path| !path.is_empty()) {
            let path = PathBuf::from(path);
            if path.is_file() {
                return Ok(path);
            }
            return Err(format!("NATS_SERVER names {}, which is not a file", path.display()).into());
        }
        let program = format!("nats-server{}", env::consts::EXE_SUFFIX);
        let on_path = env::var_os("PATH").unwrap_or_default();
        let mut places: Vec<PathBuf> = env::split_paths(&on_path).map(|folder| folder.join(&program)).collect();
        let cache = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
        let cache = cache.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
        places.extend(cache.map(|cache| cache.join("natsbridge/tools/nats-server/bin").join(&program)));
        places.into_iter().find(|place| place.is_file()).ok_or_else(|| {
            "no nats-server found in NATS_SERVER, on PATH or in ~/.cache/natsbridge/tools/nats-server: run `cargo xtask \
             test`, which installs it there"
                .into()
        })
    }

    /// Where it listens, `nats://127.0.0.1:port`
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where it listens for WebSocket connections, if it was asked to
    #[must_use]
    pub fn websocket_url(&self) -> Option<String> {
        self.websocket_port.map(|port| format!("ws://127.0.0.1:{port}"))
    }

    /// The port of [`url`](Self::url)
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's folder: its configuration, its files and its log `server.log`
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends the process at once, as a power cut would; doing it twice does nothing
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Fails only for a process that has ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again on the same port, ending it first if it runs
    ///
    /// # Errors
    /// It did not start.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.kill();
        self.launch()
    }

    /// Replaces the configuration file's text and has the running server read it again
    ///
    /// # Errors
    /// The file cannot be written, or the server refuses it.
    pub fn reload(&self, config: &str) -> Result<(), ServerError> {
        let process = self.process.as_ref().ok_or("the server does not run")?;
        fs::write(self.folder.path().join("server.conf"), config)?;
        let told = Command::new(&self.binary)
            .args(["--signal", &format!("reload={}", process.id())])
            .stdin(Stdio::null())
            .output()?;
        if told.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&told.stderr).into_owned().into()) }
    }

    fn launch(&mut self) -> Result<(), ServerError> {
        let log = self.folder.path().join("server.log");
        let ports = self.folder.path().join("ports");
        // A file of the process before would be read instead of the new one's.
        match fs::remove_dir_all(&ports) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => fs::create_dir(&ports)?,
        }
        let output = File::options().create(true).append(true).open(&log)?;
        let port = if self.port == 0 { OsString::from("-1") } else { OsString::from(self.port.to_string()) };
        let mut process = Command::new(&self.binary)
            .args(["--addr", "127.0.0.1", "--config", "server.conf", "--ports_file_dir", "ports", "--port"])
            .arg(port)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let listening = wait_for_port(&mut process, &ports);
        self.process = Some(process);
        match listening {
            Ok(port) => {
                self.port = port;
                Ok(())
            }
            Err(why) => {
                self.kill();
                let words = fs::read_to_string(&log).unwrap_or_default();
                Err(format!("{} {why}; it said:\n{words}", self.binary.display()).into())
            }
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for the file in which the server writes its ports once it listens.
fn wait_for_port(process: &mut Child, folder: &Path) -> Result<u16, String> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(port) = port_in(folder) {
            return Ok(port);
        }
        if let Ok(Some(status)) = process.try_wait() {
            return Err(format!("ended at once ({status})"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(format!("did not listen within {PATIENCE:?}"))
}

/// The port in a complete ports file, `{"nats":["nats://127.0.0.1:4222"],…}`; behind TLS the scheme is `tls`.
fn port_in(folder: &Path) -> Option<u16> {
    let file = fs::read_dir(folder)
        .ok()?
        .flatten()
        .find(|entry| entry.path().extension().is_some_and(|end| end == "ports"))?;
    let text = fs::read_to_string(file.path()).ok()?;
    let urls = text.split_once("\"nats\"")?.1;
    let url = urls.split('"').nth(1)?;
    urls.contains(']').then_some(())?;
    url.rsplit_once(':')?.1.parse().ok()
}

/// A port that is free now; for listeners that cannot choose one themselves.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
