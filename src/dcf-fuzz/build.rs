//! Links LLVM's libFuzzer, which brings `main`: the archive that LIBFUZZER names.

fn main() {
    println!("cargo:rerun-if-env-changed=LIBFUZZER");
    let archive = std::env::var("LIBFUZZER")
        .expect("LIBFUZZER has to name LLVM's libclang_rt.fuzzer archive; cargo.sh finds Debian's");
    println!("cargo:rustc-link-arg-bins={archive}");
    println!("cargo:rustc-link-arg-bins=-lstdc++");
}
