//! Other people's modules: every version of the ABI, the SDKs' own toolchains, and what Envoy would refuse.

#[path = "../common/mod.rs"]
mod common;

mod abi;
mod assembly_script;
mod go;
mod in_envoy;
mod phases;
mod rust_sdk;
mod toolchain;
#[path = "../common/tools.rs"]
mod tools;
