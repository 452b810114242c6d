//! Makes stubs of proto/ (PROTO_DIR) with ttrpc's own generator, into src/stubs of this copy.
use ttrpc_codegen::{Codegen, Customize, ProtobufCustomize};

fn main() {
    let proto = std::env::var("PROTO_DIR").expect("PROTO_DIR names the folder of protos");
    let files: Vec<String> =
        ["common", "processes", "events", "pools", "admin"].iter().map(|name| format!("{proto}/spawnd/v1/{name}.proto")).collect();
    println!("cargo:rerun-if-env-changed=PROTO_DIR");
    println!("cargo:rerun-if-changed={proto}");
    std::fs::create_dir_all("src/stubs").expect("src/stubs");
    Codegen::new()
        .out_dir("src/stubs")
        .inputs(&files)
        .include(&proto)
        .rust_protobuf()
        .customize(Customize { async_all: true, gen_mod: true, ..Default::default() })
        .rust_protobuf_customize(ProtobufCustomize::default())
        .run()
        .expect("the stubs could not be made");
}
