//! Gives the shared library its name, so that programs that were linked with it at any path look
//! for it by name.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libdcf.so");
}
