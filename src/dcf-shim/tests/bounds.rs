//! README.md shows every bound, with its value and with what happens at it.

use std::path::Path;

use dcf::bounds::Bound;
use dcf_shim::bounds::{ALL, SETTINGS};
use dcf_shim::settings::{Settings, HELP};
use toml::Value;

fn bytes(value: i64) -> String {
    match value {
        _ if value % (1 << 20) == 0 => format!("{} MiB", value >> 20),
        _ => value.to_string(),
    }
}

fn tables() -> String {
    let mut out = String::from("| setting | value | bounds | at it |\n| --- | --- | --- | --- |\n");
    let defaults = Value::try_from(Settings::default()).unwrap();
    for (key, at_it) in SETTINGS {
        let (_, help) = HELP.iter().find(|(name, _)| name == key).expect("a setting");
        let value = match &defaults[*key] {
            Value::Integer(number) => bytes(*number),
            other => other.to_string().trim_end_matches(".0").into(),
        };
        out += &format!("| `{key}` | {value} | {help} | {at_it} |\n");
    }
    out += "\n| built in | value | bounds | because | at it |\n| --- | --- | --- | --- | --- |\n";
    for Bound { name, value, what, why, at_it } in ALL {
        out += &format!("| `{name}` | {value} | {what} | {why} | {at_it} |\n");
    }
    out
}

#[test]
fn readme_shows_every_bound_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let tables = tables();
    assert!(readme.contains(&tables), "README.md should have, under Bounds:\n\n{tables}");
}
