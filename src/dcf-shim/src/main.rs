//! The dcf-shim daemon: sockets, clock, signals and systemd around the bridge.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dcf::clock::RunningClock;
use dcf::datagrams::Datagrams;
use dcf::endpoint::Endpoint;
use dcf::limits::{Limits, Unproven};
use dcf::sealing::Sealer;
use dcf::socket::BatchSocket;
use dcf::time::Micros;
use dcf::wait::{wait, Wait};
use sd_notify::NotifyState;
use tracing::{error, info, warn};

use dcf_shim::bounds::{AMPLIFICATION, MAX_HEADS, RECEIVE_TURN, UNPROVEN_MEMORY, UNPROVEN_SHARE};
use dcf_shim::bridge::{Bounds, Bridge};
use dcf_shim::heads::Heads;
use dcf_shim::logs::Logs;
use dcf_shim::metrics;
use dcf_shim::settings::{self, Invocation, Settings};
use dcf_shim::signals::Signals;
use dcf_shim::status_port::StatusPort;

const TICK: Micros = 250_000;
const LOOK_UP_AGAIN: Micros = 500_000;
/// Time for the last results to be acknowledged.
const FAREWELL: Micros = 1_000_000;

fn main() -> ExitCode {
    let settings = match load_settings() {
        Ok(Invocation::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Ok(Invocation::Run(settings)) => settings,
        Err(message) => {
            eprintln!("dcf-shim: {message}");
            return ExitCode::from(2);
        }
    };
    let logs = Logs::start(&settings.log_level);
    match serve(&settings, logs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            error!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn serve(settings: &Settings, logs: Logs) -> Result<(), String> {
    let signals = Signals::new().map_err(|error| error.to_string())?;
    let Some(heads) = find_heads(&settings.heads, &signals)? else { return Ok(()) };
    Daemon::new(settings, logs, signals, &heads)?.run().map_err(|error| error.to_string())
}

/// Resolves the heads' names until one has an address: a container may start before the names of the
/// others exist. Returns `None` when told to stop first.
fn find_heads(names: &[String], signals: &Signals) -> Result<Option<Vec<SocketAddr>>, String> {
    let mut said = false;
    loop {
        let (heads, lost) = settings::resolve_heads(names)?;
        if !heads.is_empty() {
            lost.iter()
                .for_each(|reason| warn!(reason, "a head is not found; going on without it"));
            return Ok(Some(heads));
        }
        if !said {
            lost.iter().for_each(|reason| warn!(reason, "no head is found; trying again"));
            notify(&[NotifyState::Status("no head is found")]);
            said = true;
        }
        let mut waits = [Wait { fd: signals.fd(), write: false, ready: false }];
        wait(&mut waits, LOOK_UP_AGAIN).map_err(|error| error.to_string())?;
        if waits[0].ready && !signals.take_hangup() {
            return Ok(None);
        }
    }
}

fn load_settings() -> Result<Invocation, String> {
    let text = |(key, value): (OsString, OsString)| {
        Some((key.into_string().ok()?, value.into_string().ok()?))
    };
    settings::load(std::env::args_os().skip(1), &std::env::vars_os().filter_map(text).collect())
}

struct Daemon {
    settings: Settings,
    logs: Logs,
    bridge: Bridge,
    clients: Side,
    mesh: Side,
    status: Option<StatusPort>,
    signals: Signals,
    came_from_clients: bool,
    clock: RunningClock,
}

/// A socket, and the datagrams that it has not taken yet.
struct Side {
    socket: BatchSocket,
    out: Datagrams,
}

impl Daemon {
    fn new(
        settings: &Settings,
        logs: Logs,
        signals: Signals,
        heads: &[SocketAddr],
    ) -> Result<Self, String> {
        let listen = settings::resolve("listen", &settings.listen)?;
        settings.check_exposure(listen, heads)?;
        // Without a key, traffic does not leave this machine unless the settings say so.
        let remote = !settings.cluster_key_file.is_empty() || settings.allow_unauthenticated;
        let mesh_listen = match settings.mesh_listen.as_str() {
            "" => any_port_towards(heads, remote)?,
            given => settings::resolve("mesh_listen", given)?,
        };
        let sealer = |file: &str| match file {
            "" => Ok(None),
            file => settings::read_key(Path::new(file)).map(|key| Some(Sealer::new(key))),
        };
        let client_limits = client_limits(settings);
        let memory = client_limits.memory;
        let mesh_limits = Limits {
            max_message: memory,
            peer_memory: memory,
            max_peers: MAX_HEADS.max(heads.len()),
            datagram_rate: f64::INFINITY,
            unproven: None,
            memory,
        };
        let bridge = Bridge::new(
            Endpoint::new(client_limits, sealer(&settings.client_key_file)?),
            Endpoint::new(mesh_limits, sealer(&settings.cluster_key_file)?),
            Heads::new(
                heads,
                micros(settings.head_timeout),
                remote && !mesh_listen.ip().is_loopback(),
            ),
            bounds(settings)?,
            // Microseconds, but few enough bits for five bytes of a payload.
            wall_clock() & 0x3fff_ffff | 0x1000_0000,
        );
        let bind = |key: &str, address| {
            let socket = BatchSocket::bind(address);
            socket.map_err(|error| format!("{key} = \"{address}\" cannot be used: {error}"))
        };
        let status = match settings.http_listen.as_str() {
            "" => None,
            given => {
                let address = settings::resolve("http_listen", given)?;
                let port = StatusPort::bind(address);
                Some(port.map_err(|e| format!("http_listen = \"{given}\" cannot be used: {e}"))?)
            }
        };
        Ok(Self {
            settings: settings.clone(),
            logs,
            bridge,
            clients: Side { socket: bind("listen", listen)?, out: Datagrams::default() },
            mesh: Side { socket: bind("mesh_listen", mesh_listen)?, out: Datagrams::default() },
            status,
            signals,
            came_from_clients: false,
            clock: RunningClock::default(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let status = self.status.as_ref().map(StatusPort::local_address).transpose()?;
        let status = status.map(|address| address.to_string()).unwrap_or_default();
        let listen = self.clients.socket.local_address()?;
        let mesh = self.mesh.socket.local_address()?;
        info!(%listen, %mesh, http_listen = status, "serving");
        let watchdog = watchdog_period();
        let (mut tick_at, mut watchdog_at, mut said) = (0, 0, String::new());
        let mut stop_by = None;
        notify(&[NotifyState::Ready]);
        loop {
            let now = self.now();
            self.bridge.act(now);
            if now >= tick_at {
                tick_at = now + TICK;
                self.bridge.tick(now);
                let status = self.bridge.status();
                if status != said {
                    notify(&[NotifyState::Status(&status)]);
                    said = status;
                }
            }
            if watchdog.is_some_and(|_| now >= watchdog_at) {
                notify(&[NotifyState::Watchdog]);
                watchdog_at = now + watchdog.unwrap_or_default() / 3;
            }
            self.flush(now)?;
            if let Some(by) = stop_by {
                if self.bridge.idle() || now >= by + FAREWELL {
                    info!("stopped");
                    return Ok(());
                }
                if now >= by {
                    self.bridge.abandon(now);
                }
            }
            let sides = [(&self.bridge.clients, &self.clients), (&self.bridge.mesh, &self.mesh)];
            // While a socket takes nothing more, its endpoint has nothing due.
            let free = sides.iter().filter(|(_, side)| side.out.items.is_empty());
            let timeouts = free.map(|(endpoint, _)| endpoint.next_timeout());
            let own = watchdog.map_or(tick_at, |_| tick_at.min(watchdog_at));
            let next = timeouts.fold(own, Micros::min);
            let timeout = next.saturating_sub(self.now());
            let signalled = self.wait(timeout)?;
            if signalled && self.signals.take_hangup() {
                self.reload();
            } else if signalled {
                let drain = if stop_by.is_none() { micros(self.settings.drain_timeout) } else { 0 };
                stop_by = Some(self.now() + drain);
                info!(tasks = self.bridge.tasks_in_flight(), "stopping");
                let extend = (drain + 2 * FAREWELL).try_into().unwrap_or(u32::MAX);
                notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(extend)]);
                self.bridge.drain();
            }
        }
    }

    /// Reads the settings again; settings that are not valid change nothing.
    fn reload(&mut self) {
        let loaded = match load_settings() {
            Ok(Invocation::Run(settings)) => self
                .clients
                .socket
                .local_address()
                .map_err(|error| error.to_string())
                .and_then(|listen| settings.check_exposure(listen, &[]))
                .and_then(|()| bounds(&settings))
                .map(|bounds| (settings, bounds)),
            Ok(Invocation::Print(_)) => return,
            Err(message) => Err(message),
        };
        let (settings, bounds) = match loaded {
            Ok(loaded) => loaded,
            Err(reason) => return error!(reason, "settings not reloaded"),
        };
        let changed = self.settings.differences(&settings);
        let (now, later): (Vec<&str>, Vec<&str>) =
            changed.into_iter().partition(|key| settings::CHANGEABLE.contains(key));
        info!(changed = now.join(", "), "settings reloaded");
        if !later.is_empty() {
            warn!(settings = later.join(", "), "some changes need a restart");
        }
        self.logs.set_level(&settings.log_level);
        self.bridge.set_bounds(bounds, client_limits(&settings));
        self.settings = *settings;
    }

    /// Waits for input and processes it; returns whether a signal came.
    fn wait(&mut self, timeout: Micros) -> io::Result<bool> {
        let on = |fd, write| Wait { fd, write, ready: false };
        let mut waits = vec![
            on(self.signals.fd(), false),
            on(self.clients.socket.fd(), !self.clients.out.items.is_empty()),
            on(self.mesh.socket.fd(), !self.mesh.out.items.is_empty()),
        ];
        waits.extend(self.status.iter().flat_map(StatusPort::fds).map(|(fd, write)| on(fd, write)));
        wait(&mut waits, timeout)?;
        self.came_from_clients = waits[1].ready;
        let (now, wall) = (self.now(), wall_clock());
        let bridge = &mut self.bridge;
        for _ in 0..RECEIVE_TURN {
            let take = |datagram: &mut [u8], from| bridge.from_client(datagram, from, now, wall);
            if !waits[1].ready || !self.clients.socket.receive(take)? {
                break;
            }
        }
        for _ in 0..RECEIVE_TURN {
            let take = |datagram: &mut [u8], from| bridge.from_mesh(datagram, from, now, wall);
            if !waits[2].ready || !self.mesh.socket.receive(take)? {
                break;
            }
        }
        if let Some(status) = &mut self.status {
            status.serve(now, |path| metrics::page(path, bridge));
        }
        Ok(waits[0].ready)
    }

    fn flush(&mut self, now: Micros) -> io::Result<()> {
        let wall = wall_clock();
        let bridge = &mut self.bridge;
        let mut sides =
            [(&mut bridge.mesh, &mut self.mesh), (&mut bridge.clients, &mut self.clients)];
        // What is forwarded goes before what is only acknowledged.
        if !self.came_from_clients {
            sides.reverse();
        }
        for (endpoint, side) in sides {
            // Datagrams that the socket has not taken yet go first.
            if side.out.items.is_empty() {
                endpoint.flush(now, wall, &mut side.out);
            }
            side.socket.send(&mut side.out)?;
        }
        Ok(())
    }

    fn now(&mut self) -> Micros {
        let (now, before) = (self.clock.now(), self.bridge.paused);
        self.bridge.paused = self.clock.paused();
        if self.bridge.paused > before {
            let seconds = (self.bridge.paused - before) / 1_000_000;
            warn!(seconds, "this process was stopped for a while");
        }
        now
    }
}

/// What clients may use; the error is a sentence for the user.
fn bounds(settings: &Settings) -> Result<Bounds, String> {
    Ok(Bounds {
        networks: settings.networks()?,
        tasks_per_second: settings.client_rate,
        task_burst: settings.client_burst,
        client_tasks: settings.client_tasks as usize,
        max_tasks: settings.max_tasks as usize,
        client_bytes: settings.client_bytes as usize,
        max_bytes: settings.max_bytes as usize,
        task_deadline: micros(settings.task_deadline),
    })
}

fn client_limits(settings: &Settings) -> Limits {
    Limits {
        max_message: settings.max_message as usize,
        memory: settings.max_bytes as usize,
        peer_memory: settings.client_bytes as usize,
        max_peers: settings.max_clients as usize,
        datagram_rate: settings.client_datagram_rate,
        unproven: Some(Unproven {
            amplification: AMPLIFICATION,
            peer_memory: UNPROVEN_MEMORY,
            memory: settings.max_bytes as usize / UNPROVEN_SHARE,
        }),
    }
}

fn any_port_towards(heads: &[SocketAddr], remote: bool) -> Result<SocketAddr, String> {
    let v6 = heads[0].is_ipv6();
    if heads.iter().any(|head| head.is_ipv6() != v6) {
        return Err("heads are of IPv4 and IPv6: name them all by addresses of one kind".into());
    }
    Ok(match (v6, remote) {
        (false, false) => (Ipv4Addr::LOCALHOST, 0).into(),
        (false, true) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        (true, false) => (Ipv6Addr::LOCALHOST, 0).into(),
        (true, true) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    })
}

/// The period of systemd's watchdog, if it watches this process.
fn watchdog_period() -> Option<Micros> {
    let number = |key| std::env::var(key).ok()?.parse::<u64>().ok();
    let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|_| ours)
}

/// Tells systemd, if it started this process.
fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(false, states) {
        error!(%error, "systemd could not be told");
    }
}

fn wall_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros() as u64
}

fn micros(seconds: f64) -> Micros {
    (seconds * 1e6) as Micros
}
