//! /healthz, /readyz and /metrics over HTTP, served between the datagrams by the same loop.
//!
//! The answer to /healthz so proves that the loop runs. A connection gets one answer and is
//! closed; few are open at once, none for long. On loopback only names of this machine are
//! answered, so that no web page can read it under a name of its own (DNS rebinding).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use dcf::time::Micros;

use crate::bounds::{MAX_CONNECTIONS, MAX_HEADERS, MAX_REQUEST, REQUEST_TIME};

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
    until: Micros,
}

/// A page: status line, content type and body.
pub type Page = (&'static str, &'static str, String);

pub struct StatusPort {
    listener: TcpListener,
    only_local_names: bool,
    connections: Vec<Connection>,
}

impl StatusPort {
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let only_local_names = address.ip().is_loopback();
        Ok(Self { listener, only_local_names, connections: Vec::new() })
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What to wait for, and whether until it is writable.
    pub fn fds(&self) -> impl Iterator<Item = (RawFd, bool)> + '_ {
        let open = |c: &Connection| (c.stream.as_raw_fd(), !c.answer.is_empty());
        std::iter::once((self.listener.as_raw_fd(), false)).chain(self.connections.iter().map(open))
    }

    /// Takes up what has arrived; `page` gives the answer for a path.
    pub fn serve(&mut self, now: Micros, page: impl Fn(&str) -> Page) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.connections.len() < MAX_CONNECTIONS && stream.set_nonblocking(true).is_ok() {
                let (request, answer) = (Vec::new(), Vec::new());
                let until = now + REQUEST_TIME;
                self.connections.push(Connection { stream, request, answer, until });
            }
        }
        let only_local_names = self.only_local_names;
        self.connections.retain_mut(|connection| {
            now < connection.until && connection.step(only_local_names, &page)
        });
    }
}

impl Connection {
    /// Reads and writes what it can; returns whether there is more to come.
    fn step(&mut self, only_local_names: bool, page: &impl Fn(&str) -> Page) -> bool {
        if self.answer.is_empty() {
            let mut buffer = [0; 2048];
            loop {
                match self.stream.read(&mut buffer) {
                    Ok(0) => return false,
                    Ok(count) => self.request.extend_from_slice(&buffer[..count]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => return false,
                }
                if self.request.len() > MAX_REQUEST {
                    return false;
                }
            }
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut request = httparse::Request::new(&mut headers);
            match request.parse(&self.request) {
                Ok(httparse::Status::Complete(_)) => {
                    let target = request.path.unwrap_or_default();
                    let path = target.split('?').next().unwrap_or_default();
                    let answer = if only_local_names && !names_this_machine(request.headers) {
                        let what = "this port is for this machine: ask for it as localhost\n";
                        ("403 Forbidden", "text/plain; charset=utf-8", what.to_owned())
                    } else {
                        page(path)
                    };
                    self.answer = response(answer, request.method == Some("HEAD"));
                }
                Ok(httparse::Status::Partial) => return true,
                Err(_) => return false,
            }
        }
        match self.stream.write(&self.answer) {
            Ok(count) => {
                self.answer.drain(..count);
                !self.answer.is_empty()
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// Whether every Host is an address, localhost or below it, or not given at all.
fn names_this_machine(headers: &[httparse::Header]) -> bool {
    let mut hosts = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    hosts.all(|header| std::str::from_utf8(header.value).is_ok_and(is_local_name))
}

fn is_local_name(host: &str) -> bool {
    let host = host.trim().to_ascii_lowercase();
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name);
    matches!(name, "" | "localhost")
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok()
}

fn response((status, content_type, body): Page, head_only: bool) -> Vec<u8> {
    let length = body.len();
    let body = if head_only { String::new() } else { body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}
