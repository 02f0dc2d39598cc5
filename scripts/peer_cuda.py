"""Copies the crates that scripts/peer-cuda edits, edits them, and writes a workspace that uses them.

Reads `cargo metadata` of benches/peer from standard input; the one argument is the folder to write to.
"""

import json
import pathlib
import re
import shutil
import sys

KERNELS_BUILD = """
use std::io::Write;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR").unwrap()).join("ptx.rs");
    let files = [%s];
    let bindings = bindgen_cuda::Builder::default()
        .kernel_paths(files.map(|file| format!("src/{file}.cu")).to_vec())
        .arg("--expt-relaxed-constexpr")
        .arg("-std=c++17")
        .arg("-O3")
        .build_ptx()
        .unwrap();
    bindings.write(&out).unwrap();
    let mut ptx = std::fs::OpenOptions::new().append(true).open(&out).unwrap();
    writeln!(ptx, "pub const QUANTIZED: &str = \\"\\";").unwrap();
    cc::Build::new().file("src/left_out.c").compile("left_out");
}
"""


def edited(path, pattern, to):
    """Replaces what must be there."""
    text, n = re.subn(pattern, to, path.read_text())
    if n == 0:
        sys.exit(f"{path}: {pattern} is not there; was the crate updated?")
    path.write_text(text)


def lean(kernels):
    """candle-kernels as PTX alone, without the quantised and mixture-of-experts kernels."""
    wanted = sorted(p.stem for p in (kernels / "src").glob("*.cu") if p.stem != "quantized")
    (kernels / "build.rs").write_text(KERNELS_BUILD % ", ".join(f'"{name}"' for name in wanted))
    names = re.findall(r"pub fn (\w+)\(", (kernels / "src/ffi.rs").read_text())
    stubs = "".join(f'void {n}(void) {{ fputs("{n} was left out\\n", stderr); abort(); }}\n' for n in names)
    (kernels / "src/left_out.c").write_text("#include <stdio.h>\n#include <stdlib.h>\n" + stubs)
    manifest = kernels / "Cargo.toml"
    edited(manifest, r"\[build-dependencies\.bindgen_cuda\]", '[build-dependencies.cc]\nversion = "1"\n\n\\g<0>')


def main():
    out = pathlib.Path(sys.argv[1])
    metadata = json.load(sys.stdin)
    folders = {p["id"]: pathlib.Path(p["manifest_path"]).parent for p in metadata["packages"]}
    core = next(p["id"] for p in metadata["packages"] if p["name"] == "candle-core")
    node = next(node for node in metadata["resolve"]["nodes"] if node["id"] == core)
    # By name in Rust; of each the version that candle-core uses.
    used = {dep["name"]: dep["pkg"] for dep in node["deps"]} | {"candle_core": core}
    patches = ""
    for name in ("candle-core", "candle-kernels", "float8"):
        copy = out / name
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folders[used[name.replace("-", "_")]], copy)
        patches += f'{name} = {{ path = "{name}" }}\n'
    edited(out / "candle-core/Cargo.toml", '"dynamic-linking"', '"fallback-dynamic-loading"')
    edited(out / "float8/Cargo.toml", r"cudarc\?/dynamic-linking", "cudarc?/fallback-dynamic-loading")
    lean(out / "candle-kernels")
    # As deep in the repository as benches/peer is, so that its relative paths hold.
    manifest = pathlib.Path("benches/peer/Cargo.toml").read_text()
    manifest += '\n[[bin]]\nname = "peer-benchmark"\npath = "../../benches/peer/src/main.rs"\n'
    (out / "Cargo.toml").write_text(manifest + "\n[patch.crates-io]\n" + patches)


if __name__ == "__main__":
    main()
