//! The pages of the status port, Prometheus' text format among them.

use std::fmt::Write;

use crate::bridge::Bridge;
use crate::status_port::Page;

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns the page at `path`.
pub fn page(path: &str, bridge: &Bridge) -> Page {
    match path {
        "/healthz" => ("200 OK", TEXT, "ok\n".into()),
        "/readyz" => match why_not_ready(bridge) {
            None => ("200 OK", TEXT, "ready\n".into()),
            Some(reason) => ("503 Service Unavailable", TEXT, format!("{reason}\n")),
        },
        "/metrics" => ("200 OK", PROMETHEUS, metrics(bridge)),
        _ => ("404 Not Found", TEXT, "/healthz, /readyz and /metrics are served here\n".into()),
    }
}

/// Returns a reason for people, `None` when tasks are taken and have somewhere to go.
pub fn why_not_ready(bridge: &Bridge) -> Option<&'static str> {
    if bridge.draining() {
        return Some("shutting down");
    }
    (bridge.heads.alive() == 0).then_some("no head answers")
}

fn metrics(bridge: &Bridge) -> String {
    let mut out = String::new();
    let mut family = |name: &str, metric_type: &str, help: &str, samples: &[(String, f64)]| {
        let _ = writeln!(
            out,
            "# HELP daiic_shim_{name} {help}\n# TYPE daiic_shim_{name} {metric_type}"
        );
        for (labels, value) in samples {
            let _ = writeln!(out, "daiic_shim_{name}{labels} {value}");
        }
    };
    let plain = |value: f64| [(String::new(), value)];
    let (clients, mesh) = (&bridge.clients, &bridge.mesh);
    for ((name, help, client), (_, _, mesh)) in
        clients.counters.each().into_iter().zip(mesh.counters.each())
    {
        let samples =
            [("{side=\"client\"}".into(), client as f64), ("{side=\"mesh\"}".into(), mesh as f64)];
        family(&format!("{name}_total"), "counter", help, &samples);
    }
    let totals = &bridge.totals;
    for (name, help, value) in [
        ("tasks_accepted_total", "Tasks accepted from clients.", totals.accepted),
        ("tasks_repeated_total", "Tasks that clients sent again.", totals.repeated),
        (
            "tasks_answered_total",
            "Tasks that ended with a head's result or error.",
            totals.answered,
        ),
        ("tasks_cancelled_total", "Tasks whose client no longer wanted them.", totals.cancelled),
        ("tasks_moved_total", "Tasks restarted at a head.", totals.moved),
    ] {
        family(name, "counter", help, &plain(value as f64));
    }
    let label = |(code, count): (&&str, &u64)| (format!("{{code=\"{code}\"}}"), *count as f64);
    let refused: Vec<_> = totals.refused.iter().map(label).collect();
    family("tasks_refused_total", "counter", "Tasks that the shim itself ended.", &refused);
    for (name, help, value) in [
        ("tasks_in_flight", "Tasks in flight.", bridge.tasks_in_flight()),
        ("clients", "Clients that are remembered.", clients.peer_count()),
        ("memory_bytes", "Bytes of tasks and results held.", bridge.memory()),
    ] {
        family(name, "gauge", help, &plain(value as f64));
    }
    let head = |value: f64, address| (format!("{{head=\"{address}\"}}"), value);
    let up: Vec<_> = bridge.heads.each().map(|(at, up, _)| head(f64::from(up), at)).collect();
    family("head_up", "gauge", "Whether the head answers.", &up);
    let rtt = bridge.heads.each().filter_map(|(at, _, rtt)| Some(head(rtt? as f64 / 1e6, at)));
    let rtt: Vec<_> = rtt.collect();
    family("head_rtt_seconds", "gauge", "Round trip to the head, by PING.", &rtt);
    out
}
