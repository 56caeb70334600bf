//! certctl
fn main() {}
