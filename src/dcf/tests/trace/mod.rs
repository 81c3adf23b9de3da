//! Plays one conformance trace against `Endpoint`: what happens to it, and what it must do.

mod messages;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;

use dcf::datagrams::Datagrams;
use dcf::endpoint::Endpoint;
use dcf::events::Event;
use dcf::frames::{self, message_type, PATH_MTU};
use dcf::limits::{Limits, Unproven};
use dcf::sealing::Sealer;
use dcf::time::Micros;
use serde_json::{json, Value};

use messages::{wholes, Opener, Sent};

const BEGAN: Micros = 1_000_000_000;
/// How often an endpoint may ask to be called within one step.
const STUCK: u32 = 10_000;

pub struct Player<'a> {
    types: &'a Value,
    steps: &'a Vec<Value>,
    epoch: u64,
    now: Micros,
    endpoint: Endpoint,
    opener: Option<Opener>,
    datagrams: Vec<Vec<u8>>,
    events: Vec<Event>,
    numbers: HashMap<String, u64>,
    acknowledged: HashMap<SocketAddr, HashSet<u32>>,
    bytes: HashMap<SocketAddr, usize>,
    extended: HashSet<SocketAddr>,
}

fn address(name: &str) -> SocketAddr {
    match name {
        "a" => ([192, 0, 2, 1], 5000).into(),
        "b" => ([192, 0, 2, 2], 5000).into(),
        other => panic!("nobody is called {other}"),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn list<'a>(step: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    step[name].as_array().into_iter().flatten()
}

fn limits(trace: &Value) -> Limits {
    let mut limits = Limits::default();
    for (name, value) in trace["limits"].as_object().into_iter().flatten() {
        let value = value.as_u64().unwrap() as usize;
        match name.as_str() {
            "max_message" => limits.max_message = value,
            "memory" => limits.memory = value,
            "peer_memory" => limits.peer_memory = value,
            "max_peers" => limits.max_peers = value,
            other => panic!("{other} is no limit of an endpoint here"),
        }
    }
    if trace["unproven"] == true {
        let (peer_memory, memory) = (limits.peer_memory, limits.memory);
        limits.unproven = Some(Unproven { amplification: 3, peer_memory, memory });
    }
    limits
}

impl<'a> Player<'a> {
    pub fn new(file: &'a Value, trace: &'a Value) -> Self {
        let key: [u8; 32] = bytes(file["key"].as_str().unwrap()).try_into().unwrap();
        let sealer = || (trace["key"] == true).then(|| Sealer::new(key));
        Self {
            types: &file["types"],
            steps: trace["steps"].as_array().unwrap(),
            epoch: file["now"].as_str().unwrap().parse().unwrap(),
            now: BEGAN,
            endpoint: Endpoint::new(limits(trace), sealer()),
            opener: sealer().map(Opener::new),
            datagrams: Vec::new(),
            events: Vec::new(),
            numbers: HashMap::new(),
            acknowledged: HashMap::new(),
            bytes: HashMap::new(),
            extended: HashSet::new(),
        }
    }

    pub fn play(&mut self) {
        for (number, step) in self.steps.iter().enumerate() {
            eprintln!("step {number}"); // shown when it is broken
            self.step(step, address(step["peer"].as_str().unwrap_or("a")));
        }
    }

    fn dropped(&self) -> HashMap<&'static str, u64> {
        let all = self.endpoint.counters.each().into_iter();
        let dropped = all.filter(|(name, ..)| name.starts_with("dropped_"));
        dropped.map(|(name, _, value)| (name, value)).collect()
    }

    fn step(&mut self, step: &Value, peer: SocketAddr) {
        let before = self.dropped();
        let echo = self.datagrams.first().cloned();
        self.datagrams.clear();
        self.act(step, peer, echo);
        self.let_pass((step["wait"].as_f64().unwrap_or(0.0) * 1e6).round() as Micros);
        let mut dropped = json!({});
        for (name, count) in self.dropped().into_iter().filter(|(n, count)| *count > before[n]) {
            dropped[name] = json!(count - before[name]);
        }
        let wanted = if step["dropped"].is_null() { json!({}) } else { step["dropped"].clone() };
        assert_eq!(dropped, wanted);
        self.check_sent(step, peer);
        self.check_events(step, peer);
        if let Some(most) = step["at_most"].as_u64() {
            assert!(self.bytes[&peer] as u64 <= most, "{} bytes sent", self.bytes[&peer]);
        }
    }

    // ------------------------------------------------------------ what happens

    fn act(&mut self, step: &Value, peer: SocketAddr, echo: Option<Vec<u8>>) {
        let echo = echo.filter(|_| !step["echo"].is_null());
        let receive =
            list(step, "receive").map(|text| bytes(&self.resolve(text.as_str().unwrap())));
        for mut datagram in receive.chain(echo).collect::<Vec<_>>() {
            let extended = |t: &&u8| frames::is_extended(**t) || **t == message_type::BATCH;
            if datagram.first().filter(extended).is_some() {
                self.extended.insert(peer);
            }
            self.endpoint.received(&mut datagram, peer, self.now, self.wall_clock());
        }
        if let Some(message) = step["send"].as_object() {
            let message_type = self.message_type(&message["type"]);
            let payload = Rc::new(bytes(message["payload"].as_str().unwrap()));
            match message_type {
                message_type::HEARTBEAT => drop(self.endpoint.heartbeat(peer, payload, self.now)),
                other => drop(self.endpoint.send(peer, other, payload, self.now)),
            }
        }
        if !step["ping"].is_null() {
            self.endpoint.ping(peer, self.now);
        }
        if !step["forget"].is_null() {
            self.endpoint.forget(peer);
        }
    }

    fn wall_clock(&self) -> u64 {
        self.epoch + self.now - BEGAN
    }

    fn message_type(&self, name: &Value) -> u8 {
        self.types[name.as_str().unwrap()].as_u64().unwrap() as u8
    }

    /// Returns `text` with every `{name}` replaced by its number.
    fn resolve(&self, text: &str) -> String {
        let mut parts = text.split(['{', '}']);
        let mut out = String::from(parts.next().unwrap());
        while let (Some(reference), Some(plain)) = (parts.next(), parts.next()) {
            let at = reference.find(['+', '-']).unwrap_or(reference.len());
            let (name, steps) = reference.split_at(at);
            let steps: i64 = if steps.is_empty() { 0 } else { steps.parse().unwrap() };
            let number = self.numbers[name].wrapping_add_signed(steps);
            out += &match name.ends_with(".timestamp") {
                true => format!("{number:016x}"),
                false => format!("{:08x}", number as u32),
            };
            out += plain;
        }
        out
    }

    fn let_pass(&mut self, span: Micros) {
        let end = self.now + span;
        self.flush();
        let mut calls = 0;
        while self.now < end && self.endpoint.next_timeout() <= end {
            self.now = self.now.max(self.endpoint.next_timeout());
            self.flush();
            calls += 1;
            assert!(calls < STUCK, "it asks to be called again and again");
        }
        self.now = end;
        self.flush();
    }

    fn flush(&mut self) {
        let mut out = Datagrams::default();
        self.endpoint.flush(self.now, self.wall_clock(), &mut out);
        for (range, to) in &out.items {
            *self.bytes.entry(*to).or_default() += range.len();
            self.datagrams.push(out.bytes[range.clone()].into());
        }
        let mut events = Vec::new();
        self.endpoint.take_events(&mut events);
        self.events.append(&mut events);
    }

    // --------------------------------------------------------- what it must do

    fn check_sent(&mut self, step: &Value, peer: SocketAddr) {
        let mut messages = Vec::new();
        for datagram in std::mem::take(&mut self.datagrams) {
            assert!(datagram.len() <= PATH_MTU);
            if !self.extended.contains(&peer) {
                assert!(![message_type::BATCH, message_type::BUSY].contains(&datagram[0]));
            }
            let wall_clock = self.wall_clock();
            messages.extend(messages::open(&datagram, self.opener.as_mut(), wall_clock));
            self.datagrams.push(datagram);
        }
        if !self.extended.contains(&peer) {
            let sack = |m: &Sent| m.message_type == message_type::SACK && !m.payload.is_empty();
            assert!(!messages.iter().any(sack), "a SACK with ranges");
        }
        let whole = wholes(&messages);
        let mut explained: HashSet<(u8, u32, u64)> = HashSet::new();
        for (pattern, required) in
            list(step, "sent").map(|p| (p, true)).chain(list(step, "may").map(|p| (p, false)))
        {
            let mut found = false;
            for message in whole.iter().chain(&messages) {
                if self.matches(message, pattern) {
                    found = true;
                    explained.extend(&message.parts);
                }
            }
            assert!(found || !required, "{pattern} not among {messages:#?}");
        }
        for pattern in list(step, "never") {
            assert!(!messages.iter().any(|m| self.matches(m, pattern)), "{pattern}");
        }
        let rest = messages.iter().filter(|m| !m.parts.iter().any(|part| explained.contains(part)));
        let mut named = HashSet::new();
        for message in rest {
            match message.message_type {
                message_type::ACK => drop(named.insert(message.sequence)),
                message_type::SACK => {
                    for (start, end) in frames::read_sack(&message.payload).unwrap() {
                        let count = end.wrapping_sub(start);
                        named.extend((0..=count).map(|step| start.wrapping_add(step)));
                    }
                }
                message_type::PING => {}
                _ => panic!("{message:?} should not be sent"),
            }
        }
        let wanted = list(step, "acknowledges").map(|number| number.as_u64().unwrap() as u32);
        let wanted: HashSet<u32> = wanted.collect();
        assert!(wanted.is_subset(&named), "acknowledged {named:?}");
        let acknowledged = self.acknowledged.entry(peer).or_default();
        acknowledged.extend(wanted);
        assert!(named.is_subset(acknowledged), "acknowledged {named:?}");
    }

    /// Whether a message is as the pattern says; if so, the name that it may give is noted.
    fn matches(&mut self, message: &Sent, pattern: &Value) -> bool {
        let name = pattern["as"].as_str();
        let known = name.and_then(|name| self.numbers.get(name)).map(|number| *number as u32);
        let given = match &pattern["sequence"] {
            Value::String(text) => Some(u32::from_str_radix(&self.resolve(text), 16).unwrap()),
            other => other.as_u64().map(|number| number as u32),
        };
        let timestamp = message.timestamp.to_string();
        let payload = hex(&message.payload);
        let fits = message.message_type == self.message_type(&pattern["type"])
            && known.or(given).unwrap_or(message.sequence) == message.sequence
            && pattern["timestamp"].as_str().unwrap_or(&timestamp) == timestamp
            && pattern["payload"].as_str().unwrap_or(&payload) == payload;
        if let Some(name) = name.filter(|_| fits) {
            let last = message.sequence.wrapping_add(message.parts.len().max(1) as u32 - 1);
            self.numbers.insert(name.into(), message.sequence.into());
            self.numbers.insert(format!("{name}.last"), last.into());
            self.numbers.insert(format!("{name}.timestamp"), message.timestamp);
        }
        fits
    }

    fn check_events(&mut self, step: &Value, peer: SocketAddr) {
        let mut happened: Vec<Value> = Vec::new();
        for event in std::mem::take(&mut self.events) {
            happened.extend(self.described(event, peer));
        }
        let mut happened = happened.into_iter().peekable();
        for wanted in list(step, "events") {
            let mut wanted = wanted.as_object().unwrap().clone();
            let optional = wanted.remove("optional").is_some_and(|value| value == true);
            let number = |name: &Value| self.numbers[name.as_str().unwrap()] as u32;
            if let Some(message) = wanted.get_mut("message") {
                *message = json!(number(message));
            }
            if let Some(messages) = wanted.get_mut("messages") {
                let mut numbers: Vec<_> = messages.as_array().unwrap().iter().map(number).collect();
                numbers.sort_unstable();
                *messages = json!(numbers);
            }
            let fits = |event: &Value| wanted.iter().all(|(name, value)| event[name] == *value);
            let next = happened.next_if(fits);
            assert!(next.is_some() || optional, "reported {happened:?}, not {wanted:?}");
        }
        assert_eq!(happened.next(), None);
    }

    /// An event in the words of the file, if the file has words for it.
    fn described(&self, event: Event, from: SocketAddr) -> Option<Value> {
        let (peer, described) = match event {
            Event::Message { peer, message_type, sequence, payload, .. } => {
                let mut names = self.types.as_object().unwrap().iter();
                let (name, _) = names.find(|(_, number)| **number == message_type)?;
                let (sequence, payload) = (json!(sequence), json!(hex(&payload)));
                let event = json!({"event": "message", "type": name, "sequence": sequence,
                    "payload": payload});
                (peer, event)
            }
            Event::Delivered { peer, sequence, .. } => {
                (peer, json!({"event": "delivered", "message": sequence}))
            }
            Event::Pong { peer, rtt } => (peer, json!({"event": "pong", "rtt": rtt as f64 / 1e6})),
            Event::Unreachable { peer, mut sequences, .. } => {
                sequences.sort_unstable();
                (peer, json!({"event": "unreachable", "messages": sequences}))
            }
            Event::TooLarge { .. } | Event::Forgotten { .. } => return None,
        };
        assert_eq!(peer, from);
        Some(described)
    }
}
