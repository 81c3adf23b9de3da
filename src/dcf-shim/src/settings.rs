//! The shim's settings: one TOML file, then the environment, then flags, as all of DAIIC's daemons.
//!
//! A key that is not known, or a value that does not fit, is an error that names the key, the
//! value, where it was given, and what would be right.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use toml::Value;

macro_rules! settings {
    ($($key:ident: $type:ty = $default:expr, $help:literal;)*) => {
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub struct Settings {
            $(#[doc = $help] pub $key: $type,)*
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        /// A sentence on each.
        pub const HELP: &[(&str, &str)] = &[$((stringify!($key), $help),)*];
    };
}

settings! {
    listen: String = "127.0.0.1:7737".into(), "Address and port for clients' datagrams.";
    heads: Vec<String> = vec!["127.0.0.1:7717".into()], "Heads of the cluster. The first that answers is used; others are learned from it.";
    mesh_listen: String = String::new(), "Address and port from which heads are spoken to; \"\": any free one.";
    cluster_key_file: String = String::new(), "The cluster's key, made by `daiic keygen`.";
    client_key_file: String = String::new(), "A key of the same form that clients must have; \"\": clients send plain DCF.";
    allow_unauthenticated: bool = false, "Serve beyond loopback without keys.";
    allowed_networks: Vec<String> = Vec::new(), "Networks (CIDR) that clients may be in; empty: any.";
    client_rate: f64 = 50.0, "Tasks a second that one client may send.";
    client_burst: f64 = 100.0, "Tasks that one client may send at once after a pause.";
    client_datagram_rate: f64 = 20_000.0, "Datagrams a second that one client may send.";
    client_tasks: i64 = 64, "Tasks that one client may have in flight.";
    client_bytes: i64 = 128 << 20, "Bytes of tasks, and of unacknowledged results, for one client.";
    max_clients: i64 = 16_384, "Clients that are remembered.";
    max_tasks: i64 = 4096, "Tasks in flight of all clients.";
    max_bytes: i64 = 512 << 20, "Bytes of tasks of all clients; results may take as much again.";
    max_message: i64 = 64 << 20, "Bytes of the largest task or result part.";
    task_deadline: f64 = 600.0, "Seconds that a task may take.";
    head_timeout: f64 = 4.0, "Seconds of silence after which a head counts as lost.";
    drain_timeout: f64 = 30.0, "Seconds that tasks in flight may take to finish at a stop.";
    http_listen: String = "127.0.0.1:7738".into(), "Address and port of /healthz, /readyz and /metrics; \"\": none.";
    log_level: String = "info".into(), "debug, info, warning or error.";
}

/// What the command line asks for.
pub enum Invocation {
    Run(Box<Settings>),
    /// Print this and end.
    Print(String),
}

/// Reads flags, environment and file; the error is a sentence for the user.
pub fn load(
    arguments: impl IntoIterator<Item = OsString> + 'static,
    environment: &BTreeMap<String, String>,
) -> Result<Invocation, String> {
    let defaults = Value::try_from(Settings::default()).map_err(|error| error.to_string())?;
    let mut values = defaults.as_table().cloned().unwrap_or_default();
    let mut flags = BTreeMap::new();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                return Ok(Invocation::Print(help(&values)));
            }
            lexopt::Arg::Long("version") => {
                return Ok(Invocation::Print(format!("dcf-shim {}\n", env!("CARGO_PKG_VERSION"))));
            }
            lexopt::Arg::Long(name) => {
                let (flag, key) = (format!("--{name}"), name.replace('-', "_"));
                if key != "config" && !values.contains_key(&key) {
                    return Err(format!("unknown flag {flag}{}", suggestion(&key, &values)));
                }
                let value = parser.value().map_err(|_| format!("{flag} needs a value"))?;
                let value = value.into_string().map_err(|_| format!("{flag} is not UTF-8"))?;
                flags.insert(key, (format!("flag {flag}"), value));
            }
            other => return Err(format!("{}; see --help", other.unexpected())),
        }
    }
    let config = flags.remove("config").map(|(_, path)| path);
    if let Some(path) = config.or_else(|| environment.get("DAIIC_CONFIG").cloned()) {
        let text = fs::read_to_string(&path).map_err(|e| format!("{path} cannot be read: {e}"))?;
        let table: toml::value::Table =
            toml::from_str(&text).map_err(|error| format!("{path} is not TOML: {error}"))?;
        for (key, value) in table {
            let Some(known) = values.get(&key) else {
                return Err(format!("{path}: unknown key {key}{}", suggestion(&key, &values)));
            };
            let value =
                fitting(known, value.clone()).ok_or_else(|| misfit(&key, &value, &path, known))?;
            values.insert(key, value);
        }
    }
    for (key, _) in HELP {
        let variable = format!("DAIIC_{}", key.to_uppercase());
        let given =
            environment.get(&variable).map(|v| (format!("environment {variable}"), v.clone()));
        for (source, text) in given.into_iter().chain(flags.remove(*key)) {
            let known = &values[*key];
            let value = parsed(known, &text)
                .ok_or_else(|| misfit(key, &Value::String(text), &source, known))?;
            values.insert((*key).into(), value);
        }
    }
    let settings: Settings = Value::Table(values).try_into().map_err(|error| error.to_string())?;
    settings.check()?;
    Ok(Invocation::Run(Box::new(settings)))
}

/// The value if it has the type of the default; whole numbers serve as fractions.
fn fitting(default: &Value, value: Value) -> Option<Value> {
    match (default, value) {
        (Value::Float(_), Value::Integer(value)) => Some(Value::Float(value as f64)),
        (Value::Array(_), Value::Array(items)) => {
            items.iter().all(Value::is_str).then_some(Value::Array(items))
        }
        (default, value) => default.same_type(&value).then_some(value),
    }
}

/// The value of a text from the environment or the command line.
fn parsed(default: &Value, text: &str) -> Option<Value> {
    let item = |item: &str| Value::String(item.trim().into());
    let items = text.split(',').filter(|item| !item.trim().is_empty());
    match default {
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Float(_) => text.parse().ok().map(Value::Float),
        Value::Array(_) => Some(Value::Array(items.map(item).collect())),
        _ => Some(Value::String(text.into())),
    }
}

fn misfit(key: &str, value: &Value, source: &str, default: &Value) -> String {
    let right = match default {
        Value::Boolean(_) => "true or false",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Array(_) => "a list of texts",
        _ => "a text",
    };
    format!("{key} = {value} ({source}) is not valid: it must be {right}")
}

fn suggestion(key: &str, known: &toml::value::Table) -> String {
    let near = |other: &&str| {
        let (ours, theirs) = (key.as_bytes(), other.as_bytes());
        let alike = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
        let from_end =
            ours.iter().rev().zip(theirs.iter().rev()).take_while(|(a, b)| a == b).count();
        (alike + from_end) * 4 >= 3 * ours.len().max(theirs.len())
    };
    match HELP.iter().map(|(key, _)| *key).find(near) {
        Some(close) => format!("; did you mean {close}?"),
        None => format!("; the keys are {}", known.keys().cloned().collect::<Vec<_>>().join(", ")),
    }
}

fn help(defaults: &toml::value::Table) -> String {
    let line = |(key, help): &(&str, &str)| {
        format!("  --{} VALUE\n      {help} (default: {})\n", key.replace('_', "-"), defaults[*key])
    };
    let lines: String = HELP.iter().map(line).collect();
    format!(
        "usage: dcf-shim [--config FILE] [--KEY VALUE ...]\n\n\
         Forwards tasks from DCF clients outside the cluster to its heads, and the results back.\n\n\
         {lines}\nEvery setting is also a key of the file and a variable DAIIC_<KEY>.\n"
    )
}

/// What SIGHUP can change; the rest needs a restart.
pub const CHANGEABLE: &[&str] = &[
    "allowed_networks",
    "client_rate",
    "client_burst",
    "client_datagram_rate",
    "client_tasks",
    "client_bytes",
    "max_clients",
    "max_tasks",
    "max_bytes",
    "max_message",
    "task_deadline",
    "drain_timeout",
    "log_level",
];

impl Settings {
    /// The keys whose values differ.
    pub fn differences(&self, other: &Settings) -> Vec<&'static str> {
        let table = |settings| Value::try_from(settings).unwrap_or(Value::Boolean(false));
        let (ours, theirs) = (table(self), table(other));
        let keys = HELP.iter().map(|(key, _)| *key);
        keys.filter(|key| ours.get(key) != theirs.get(key)).collect()
    }

    fn check(&self) -> Result<(), String> {
        let positive = [
            ("client_rate", self.client_rate),
            ("client_burst", self.client_burst),
            ("client_datagram_rate", self.client_datagram_rate),
            ("client_tasks", self.client_tasks as f64),
            ("max_clients", self.max_clients as f64),
            ("max_tasks", self.max_tasks as f64),
            ("max_message", self.max_message as f64),
            ("task_deadline", self.task_deadline),
            ("head_timeout", self.head_timeout),
        ];
        if let Some((key, value)) =
            positive.into_iter().find(|(_, value)| value.is_nan() || *value <= 0.0)
        {
            return Err(format!("{key} = {value} is not valid: it must be above 0"));
        }
        if self.drain_timeout.is_nan() || self.drain_timeout < 0.0 {
            return Err(format!(
                "drain_timeout = {} is not valid: it must not be below 0",
                self.drain_timeout
            ));
        }
        if self.client_bytes < self.max_message || self.max_bytes < self.client_bytes {
            return Err(format!(
                "max_message = {}, client_bytes = {} and max_bytes = {} are not valid: each must be at \
                 least the one before",
                self.max_message, self.client_bytes, self.max_bytes
            ));
        }
        if !["debug", "info", "warning", "error"].contains(&self.log_level.as_str()) {
            let right = "it must be one of debug, info, warning, error";
            return Err(format!("log_level = \"{}\" is not valid: {right}", self.log_level));
        }
        if self.heads.is_empty() {
            return Err("heads = [] is not valid: name at least one, such as 127.0.0.1:7717".into());
        }
        self.networks().map(drop)
    }

    /// The networks that clients may be in; empty for all.
    pub fn networks(&self) -> Result<Vec<IpNet>, String> {
        let network = |text: &String| {
            let host = |text: &str| text.parse().map(|ip: std::net::IpAddr| IpNet::from(ip));
            text.parse().or_else(|_| host(text)).map_err(|_| {
                format!(
                    "allowed_networks: \"{text}\" is not a network: write it as 192.168.0.0/16, \
                     fd00::/8 or a single address"
                )
            })
        };
        self.allowed_networks.iter().map(network).collect()
    }

    /// Refuses settings that would let strangers in, or cluster traffic out, by mistake.
    pub fn check_exposure(&self, listen: SocketAddr, heads: &[SocketAddr]) -> Result<(), String> {
        let guarded = self.allow_unauthenticated
            || !self.client_key_file.is_empty()
            || !self.allowed_networks.is_empty();
        if !listen.ip().is_loopback() && !guarded {
            return Err(format!(
                "refusing to listen on {listen} for anyone: set client_key_file (`daiic keygen` makes \
                 one), name the clients' allowed_networks, or set allow_unauthenticated"
            ));
        }
        let plain = self.cluster_key_file.is_empty() && !self.allow_unauthenticated;
        match heads.iter().find(|head| !head.ip().is_loopback()).filter(|_| plain) {
            Some(head) => Err(format!(
                "refusing to speak to head {head} without a key: set cluster_key_file to the \
                 cluster's, or set allow_unauthenticated if the network is trusted"
            )),
            None => Ok(()),
        }
    }
}

fn malformed(key: &str, text: &str, why: String) -> String {
    format!("{key} = \"{text}\" is not valid: {why}; write host:port, such as 127.0.0.1:7717")
}

/// Resolves "host:port" or "[ipv6]:port".
pub fn resolve(key: &str, text: &str) -> Result<SocketAddr, String> {
    let wrong = |why| malformed(key, text, why);
    let mut found = text.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
    found.next().ok_or_else(|| wrong("it has no address".into()))
}

/// Resolves the heads, and gives the reason for each that is not found.
pub fn resolve_heads(names: &[String]) -> Result<(Vec<SocketAddr>, Vec<String>), String> {
    let (mut found, mut lost) = (Vec::new(), Vec::new());
    for name in names {
        match name.to_socket_addrs().map(|mut addresses| addresses.next()) {
            Ok(Some(address)) => found.push(address),
            Ok(None) => lost.push(format!("{name} has no address")),
            // This is not an address, whatever the name server may know later.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                return Err(malformed("heads", name, error.to_string()));
            }
            Err(error) => lost.push(format!("{name}: {error}")),
        }
    }
    Ok((found, lost))
}

/// Reads a key file as `daiic keygen` writes it.
pub fn read_key(path: &Path) -> Result<[u8; 32], String> {
    let shown = path.display();
    let make_one = "make one with `daiic keygen`";
    let unreadable =
        |error: std::io::Error| format!("key {shown} cannot be read: {error}; {make_one}");
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o7777;
    let text = fs::read_to_string(path).map_err(unreadable)?;
    // Reading by the group is allowed: systemd's credentials and sops-nix use it.
    if mode & 0o027 != 0 {
        return Err(format!(
            "key {shown} has mode {mode:04o}, which other users may read or change: run `chmod 600 {shown}`"
        ));
    }
    let encoded = text.trim().strip_prefix("daiic-key-1:");
    encoded.and_then(decode_key).ok_or_else(|| format!("{shown} is not a key: {make_one}"))
}

/// Decodes the base64 (RFC 4648) of exactly 32 bytes.
fn decode_key(text: &str) -> Option<[u8; 32]> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.strip_suffix('=').filter(|digits| digits.len() == 43)?;
    let (mut bits, mut count, mut key) = (0u32, 0, Vec::with_capacity(32));
    for digit in digits.bytes() {
        bits = bits << 6 | ALPHABET.iter().position(|known| *known == digit)? as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            key.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    if bits != 0 {
        return None;
    }
    key.try_into().ok()
}
