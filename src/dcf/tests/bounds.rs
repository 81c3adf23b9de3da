//! README.md shows every bound, with its value and with what happens at it.

use std::path::Path;

use dcf::bounds::{Bound, ALL};

fn table() -> String {
    let mut out = String::from("| built in | value | bounds | because | at it |\n");
    out += "| --- | --- | --- | --- | --- |\n";
    for Bound { name, value, what, why, at_it } in ALL {
        out += &format!("| `{name}` | {value} | {what} | {why} | {at_it} |\n");
    }
    out
}

#[test]
fn readme_shows_every_bound_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let (readme, table) = (std::fs::read_to_string(path).unwrap(), table());
    assert!(readme.contains(&table), "README.md should have, under Bounds:\n\n{table}");
}
