//! Builds the C sources of the variant into one archive. Needs $CC (or cc) and $AR (or ar) only.
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The sources that allocator/BUILD.bazel puts into programs: without the files of tests and of preloading.
fn is_wanted(name: &str) -> bool {
    name.ends_with(".c")
        && !["os_keep.c", "reset.c"].contains(&name)
        && (!name.starts_with("shim_") || ["shim_fork.c"].contains(&name))
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// The sources in the folder and its subfolders.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if is_wanted(path.file_name().unwrap().to_str().unwrap()) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()).parent().unwrap().to_path_buf();
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let hardened = env::var_os("CARGO_FEATURE_HARDENED").is_some();
    let mut files = sources(&root.join("allocator"));
    if hardened {
        files.extend(sources(&root.join("hardening")));
    }
    let mut objects = Vec::new();
    for file in &files {
        let object = out.join(file.file_stem().unwrap()).with_extension("o");
        let mut command = Command::new(&compiler);
        command.args(["-std=gnu17", "-D_GNU_SOURCE", "-O2", "-fno-builtin", "-fvisibility=hidden", "-fPIC"]);
        command.args(["-fno-semantic-interposition", "-fomit-frame-pointer", "-ftls-model=initial-exec", "-gdwarf-4"]);
        if hardened {
            command.arg("-DHAK_HARDENED=1");
        }
        run(command.arg("-I").arg(&root).arg("-c").arg(file).arg("-o").arg(&object));
        objects.push(object);
    }
    let archive = out.join("libhakmem_rust.a");
    let _ = std::fs::remove_file(&archive);
    run(Command::new(env::var("AR").unwrap_or_else(|_| "ar".into())).arg("rcsD").arg(&archive).args(&objects));
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static:+whole-archive=hakmem_rust");
    println!("cargo:rustc-link-lib=pthread");
    for folder in ["allocator", "hardening", "include"] {
        println!("cargo:rerun-if-changed={}", root.join(folder).display());
    }
}
