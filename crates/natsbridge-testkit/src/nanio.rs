//! Starts a real S3 server, nanio, for a test: on a free loopback port, in a folder of its own, ended with the test.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use tempfile::TempDir;

/// How long the server may take to listen
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is tried again when another process took the port in between
const TRIES: usize = 3;

/// A nanio server, killed when it is dropped
///
/// Starting blocks the calling thread for about a second: fine in a test.
#[derive(Debug)]
pub struct Nanio {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Nanio {
    /// The access key it knows
    pub const ACCESS_KEY: &'static str = "natsbridge-test-key";
    /// The secret that belongs to it
    pub const SECRET_KEY: &'static str = "natsbridge-test-secret";
    /// The bucket it has
    pub const BUCKET: &'static str = "payloads";

    /// Starts a server with one empty bucket
    ///
    /// # Errors
    /// If the program is not there (the error says how to get it) or does not listen in time.
    pub fn start() -> io::Result<Self> {
        let program = program()?;
        let mut last = io::Error::other("nanio was not tried");
        for _ in 0..TRIES {
            match Self::try_start(&program) {
                Ok(server) => return Ok(server),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn try_start(program: &PathBuf) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join(Self::BUCKET))?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let process = Command::new(program)
            .args(["serve", "--host", "127.0.0.1", "--no-access-log", "--log-level", "warning", "--port"])
            .arg(port.to_string())
            .arg("--data-dir")
            .arg(folder.path())
            .env("NANIO_ACCESS_KEY", Self::ACCESS_KEY)
            .env("NANIO_SECRET_KEY", Self::SECRET_KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut server = Self { process, port, _folder: folder };
        let until = Instant::now() + PATIENCE;
        loop {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(server);
            }
            if server.process.try_wait()?.is_some() || Instant::now() > until {
                // Ended, so that its last words can be read to their end.
                server.end();
                let mut said = String::new();
                if let Some(stderr) = &mut server.process.stderr {
                    stderr.read_to_string(&mut said)?;
                }
                return Err(io::Error::other(format!("nanio does not listen on port {port}: {}", said.trim())));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// `http://127.0.0.1:port`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn end(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Nanio {
    fn drop(&mut self) {
        self.end();
    }
}

/// The program: `NANIO`, else `PATH`, else where `cargo xtask test` installs it
fn program() -> io::Result<PathBuf> {
    if let Some(named) = env::var_os("NANIO") {
        return Ok(named.into());
    }
    let on_path = env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let installed = env::home_dir().map(|home| home.join(".cache/natsbridge/tools/nanio/bin"));
    let found = on_path.chain(installed).map(|folder| folder.join("nanio")).find(|file| file.is_file());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "nanio, the S3 server of the tests, is not installed: run `cargo xtask test`, which installs it, or set NANIO to the program"))
}
