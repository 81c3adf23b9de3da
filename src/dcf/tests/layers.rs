//! The modules form layers: no circle of imports.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The modules that each module uses; those in a folder count as part of the one it belongs to.
fn imports() -> BTreeMap<String, Vec<String>> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut imports: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut folders = vec![(sources, None)];
    while let Some((folder, belongs_to)) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let module = belongs_to.clone().unwrap_or(stem);
            if path.is_dir() {
                folders.push((path, Some(module)));
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let used = text.split("crate::").skip(1).map(|rest| {
                let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
                rest[..end.unwrap_or(rest.len())].to_owned()
            });
            let others = used.filter(|other| *other != module).collect::<Vec<_>>();
            imports.entry(module).or_default().extend(others);
        }
    }
    imports
}

#[test]
fn no_module_imports_one_that_imports_it() {
    let mut imports = imports();
    assert!(imports["endpoint"].contains(&"peers".into()), "the imports are not read right");
    while !imports.is_empty() {
        let before = imports.len();
        let left = imports.clone();
        imports.retain(|_, others| others.iter().any(|other| left.contains_key(other)));
        assert!(imports.len() < before, "a circle among {imports:?}");
    }
}
