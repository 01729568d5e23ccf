//! Links the addon against the host process, which provides the N-API symbols.

fn main() {
    napi_build::setup();
}
