//! The C ABI is what `include/dcf.h` says: a C program that uses all of it, compiled here, does its
//! work with the shared library and with the static one.

use std::collections::BTreeSet;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

use dcf::abi::event::Event;
use dcf::abi::limits::Limits;
use dcf::abi::links::{Link, Neighbour, PathChange};
use dcf::abi::Address;

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo puts the libraries that it builds for these tests.
fn libraries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().into()
}

/// Compiles a C program against one of the two libraries.
fn compiled(source: &str, shared: bool) -> PathBuf {
    let (libraries, stem) = (libraries(), Path::new(source).file_stem().unwrap());
    let kind = if shared { "shared" } else { "static" };
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let program = libraries.join(format!("{}-{kind}-{test}", stem.to_str().unwrap()));
    let mut cc = Command::new(std::env::var("CC").unwrap_or("cc".into()));
    cc.args([
        "-std=c11",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pedantic",
        "-O1",
        "-g",
        "-UNDEBUG",
        "-o",
    ]);
    cc.arg(&program).arg(package().join(source)).arg("-I").arg(package().join("include"));
    if shared {
        cc.arg("-L").arg(&libraries).arg("-ldcf");
        cc.arg(format!("-Wl,-rpath,{}", libraries.display()));
    } else {
        cc.arg(libraries.join("libdcf.a")).args(["-lpthread", "-ldl", "-lm"]);
    }
    let done = cc.output().expect("a C compiler: apt install gcc, or let CC name one");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    program
}

fn run(part: &str) {
    for shared in [true, false] {
        let done =
            Command::new(compiled("tests/abi/program.c", shared)).arg(part).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
}

#[test]
fn messages_arrive_over_memory_plain_and_sealed_with_loss() {
    run("memory");
}

#[test]
fn messages_arrive_over_sockets_plain_and_sealed() {
    run("sockets");
}

#[test]
fn unreliable_messages_reach_who_has_asked_for_them() {
    run("unreliable");
}

#[test]
fn an_endpoint_for_domains_has_their_types_and_nothing_of_a_clusters() {
    run("domain");
}

#[test]
fn each_fate_of_a_message_and_a_peer_is_an_event() {
    run("fates");
}

#[test]
fn links_without_a_device_leave_all_to_the_ordinary_network() {
    run("links");
}

#[test]
fn mistakes_are_answered_and_harm_nothing() {
    run("mistakes");
}

#[test]
fn structures_are_the_same_for_c_and_rust() {
    macro_rules! expected {
        ($($name:literal $type:ty: $($field:ident)*;)*) => {
            [$(
                vec![format!("{} {}", $name, size_of::<$type>())],
                vec![$(format!("{}.{} {}", $name, stringify!($field), offset_of!($type, $field))),*],
            )*].concat()
        };
    }
    let expected = expected! {
        "address" Address: ip family port scope_id;
        "limits" Limits: max_message memory peer_memory max_peers datagram_rate amplification
            unproven_peer_memory unproven_memory;
        "event" Event: peer event message_type proven reserved sequence timestamp rtt payload
            payload_size sequences sequence_count;
        "path_change" PathChange: peer neighbour size;
        "link" Link: name address largest;
        "neighbour" Neighbour: address peer rtt size largest echoed under_way up;
    };
    let done = Command::new(compiled("tests/abi/program.c", true)).arg("layout").output().unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_header_declares_what_the_library_exports() {
    let header = std::fs::read_to_string(package().join("include/dcf.h")).unwrap();
    let words = header.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let declared: BTreeSet<&str> = words
        .filter(|word| word.starts_with("dcf_") && header.contains(&format!("{word}(")))
        .collect();
    let mut nm = Command::new("nm");
    nm.args(["--dynamic", "--defined-only", "--format=posix"]).arg(libraries().join("libdcf.so"));
    let listed = nm.output().expect("nm, of binutils");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let exported: BTreeSet<&str> =
        listed.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(declared, exported);
}

#[test]
fn the_example_of_the_readme_answers_a_message() {
    let readme = std::fs::read_to_string(package().join("README.md")).unwrap();
    let example = readme.split("```c\n").nth(1).and_then(|rest| rest.split("```").next());
    let source = libraries().join("readme.c");
    std::fs::write(&source, example.expect("an example in C")).unwrap();
    let program = compiled(source.to_str().unwrap(), true);
    let done = Command::new(program).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "delivered\n");
}
