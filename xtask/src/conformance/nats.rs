//! The few lines of the NATS protocol that a relay needs.

use std::io::{BufRead, BufReader, Read, Write};

use anyhow::{Context as _, Error, Result, anyhow};
use std::net::TcpStream;

/// A connection that has sent its greeting
#[derive(Debug)]
pub(super) struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Connection {
    /// Connects to `nats://host:port`
    pub(super) fn open(url: &str) -> Result<Self> {
        let address = url.trim_start_matches("nats://");
        let writer = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        let reader = writer.try_clone().context("cannot share a connection")?;
        let mut connection = Self { reader: BufReader::new(reader), writer };
        connection.line()?;
        connection.write(b"CONNECT {\"verbose\":false,\"lang\":\"xtask\",\"version\":\"0\",\"protocol\":1}\r\n")?;
        Ok(connection)
    }

    /// Another handle for the same socket, to close it with
    pub(super) fn socket(&self) -> Result<TcpStream> {
        self.writer.try_clone().context("cannot share a connection")
    }

    /// Subscribes, and returns when the server knows it
    pub(super) fn subscribe(&mut self, subject: &str) -> Result<()> {
        self.write(format!("SUB {subject} 1\r\nPING\r\n").as_bytes())?;
        while self.line()? != "PONG" {}
        Ok(())
    }

    pub(super) fn publish(&mut self, subject: &str, payload: &[u8]) -> Result<()> {
        self.write(format!("PUB {subject} {}\r\n", payload.len()).as_bytes())?;
        self.write(payload)?;
        self.write(b"\r\n")
    }

    /// The next message's subject and payload
    pub(super) fn next(&mut self) -> Result<(String, Vec<u8>)> {
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["MSG", subject, .., size] => {
                    let size: usize = size.parse().with_context(|| format!("no size: {line}"))?;
                    let mut payload = vec![0; size + 2];
                    self.reader.read_exact(&mut payload).context("a cut message")?;
                    payload.truncate(size);
                    return Ok(((*subject).to_owned(), payload));
                }
                ["PING"] => self.write(b"PONG\r\n")?,
                ["-ERR", ..] => return Err(Error::msg(line)),
                _ => {}
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line).context("the connection broke")? {
            0 => Err(anyhow!("the connection ended")),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).context("the connection broke")
    }
}
