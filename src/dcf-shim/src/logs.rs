//! Structured logs on stderr. Under systemd a line starts with its priority (sd-daemon(3)) and
//! has no time of its own, since the journal adds both.

use std::fmt;
use std::io;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{format, layer, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Where the level of a running log is changed.
pub struct Logs(reload::Handle<LevelFilter, Registry>);

impl Logs {
    /// Sends what is logged from `level` up to stderr.
    pub fn start(level: &str) -> Self {
        let (filter, handle) = reload::Layer::new(filter(level));
        let journal = std::env::var_os("JOURNAL_STREAM").is_some();
        let lines = Lines { journal, plain: format().with_target(false) };
        tracing_subscriber::registry()
            .with(filter)
            .with(layer().with_writer(io::stderr).event_format(lines))
            .init();
        Self(handle)
    }

    pub fn set_level(&self, level: &str) {
        // It fails only when there is no log any more.
        let _ = self.0.reload(filter(level));
    }
}

fn filter(level: &str) -> LevelFilter {
    match level {
        "debug" => LevelFilter::DEBUG,
        "warning" => LevelFilter::WARN,
        "error" => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    }
}

struct Lines {
    journal: bool,
    plain: Format,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if !self.journal {
            return self.plain.format_event(context, writer, event);
        }
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        write!(writer, "<{priority}>")?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
