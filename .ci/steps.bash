# What .ci/run and .ci/soak share; they source it. It moves to the root of the checkout.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() {
    printf '==> %s\n' "$*"
}

# step NAME COMMAND...: runs the command and tells its time. A failure ends the script; it is told
# by the trap, because a command that an `if` asks about runs on after failures inside it.
step() {
    current=$1
    local start=$SECONDS
    shift
    say "$current: $*"
    "$@"
    say "$current: $((SECONDS - start)) s"
}

trap '[ $? = 0 ] || say "${current:-start} FAILED (LINCHPIN_SEED=${LINCHPIN_SEED:-none})"' EXIT

# Chance comes from one printed number, a new one each time; set it to repeat a run.
seed() {
    LINCHPIN_SEED=${LINCHPIN_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
    export LINCHPIN_SEED
    export PROPTEST_RNG_SEED=$LINCHPIN_SEED
    say "LINCHPIN_SEED=$LINCHPIN_SEED"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "missing, and neither root nor sudo to install it: $*"
        return 1
    fi
}

apt_install() {
    say "installing $1"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1"
}

# apt_for PACKAGE COMMAND...: installs the Debian package unless every command is there.
apt_for() {
    local package=$1
    shift
    type -- "$@" >/dev/null 2>&1 || apt_install "$package"
}

# What the tests need beside cargo. The redis-server that Debian starts as a service is left alone:
# tests start their own, on ports of their own.
install_programs() {
    apt_for redis-server redis-server
    apt_for redis-tools redis-cli redis-benchmark
    apt_for nodejs node
    apt_for npm npm
    apt_for python3 python3
    install_fault_programs
    python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip
    if ! node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)'; then
        say "node $(node --version) is too old for the clients: 20 or newer is needed"
        return 1
    fi
    tests/it/clients/install
}

# What makes system calls fail, clocks step, and small disks.
install_fault_programs() {
    apt_for strace strace
    apt_for faketime faketime
    apt_for util-linux unshare nsenter
}

install_components() {
    if ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
        say "installing rustfmt and clippy"
        rustup component add rustfmt clippy
    fi
}

install_cargo_fuzz() {
    if ! cargo fuzz --version >/dev/null 2>&1; then
        say "installing cargo-fuzz"
        cargo install --locked cargo-fuzz
    fi
}

# Counting instructions needs valgrind and the runner of the very version that the benchmarks have.
install_gungraun() {
    local version
    version=$(sed -n '/^name = "gungraun"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)
    apt_for valgrind valgrind
    if [ "$(gungraun-runner --version 2>/dev/null)" != "gungraun-runner $version" ]; then
        say "installing gungraun-runner $version"
        cargo install --locked --version "$version" gungraun-runner
    fi
}

# Sanitizers are nightly's; the pinned toolchain can be told to have them too.
cargo_with_sanitizers() {
    if rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
        cargo +nightly "$@"
    else
        RUSTC_BOOTSTRAP=1 cargo "$@"
    fi
}

# The engine's unit tests with every access to memory checked. They use the system's allocator,
# which the sanitizer replaces; what is built for the host, such as macros, stays as it is.
address_sanitizer() {
    local target
    target=$(rustc -vV | sed -n 's/^host: //p')
    RUSTFLAGS="-Zsanitizer=address" cargo_with_sanitizers test --locked \
        --package linchpin-server --lib --target "$target" --target-dir target/asan engine::
}

# fuzz_all SECONDS: fuzzes every target for so long. What it finds on the way goes under target/,
# so that the corpora in the repository change only by hand.
fuzz_all() {
    local seconds=$1 targets target found dictionary options
    targets=$(cargo_with_sanitizers fuzz list)
    for target in $targets; do
        found=target/fuzz/corpus/$target
        mkdir -p "$found" "fuzz/corpus/$target"
        # Its seed has 32 bits, and 0 would have it choose one itself.
        options=("-max_total_time=$seconds" "-seed=$((LINCHPIN_SEED % 4294967295 + 1))")
        # An input that takes so long, or so much memory, is a finding.
        options+=("-timeout=20" "-rss_limit_mb=2048")
        for dictionary in "fuzz/dictionary/$target.dict" "fuzz/dictionary/${target%%_*}.dict"; do
            if [ -f "$dictionary" ]; then
                options+=("-dict=$dictionary")
                break
            fi
        done
        say "fuzz $target ${options[*]}"
        cargo_with_sanitizers fuzz run "$target" "$found" "fuzz/corpus/$target" -- "${options[@]}" \
            -print_final_stats=1 -verbosity=0
    done
}

# loom [ARGUMENT...]: the loom models, with the arguments for their test binary; ended after
# LOOM_SECONDS_MAX where that is set. They are built for speed but without the link-time
# optimisation that only a release needs.
loom() {
    RUSTFLAGS="--cfg loom" CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        timeout "${LOOM_SECONDS_MAX:-0}" \
        cargo test --locked --package linchpin-server --lib --release --target-dir target/loom \
        loom_ -- "$@"
}

# shuttle [ARGUMENT...]: threads in random interleavings, from LINCHPIN_SEED on, with the arguments
# for their test binary.
shuttle() {
    RUSTFLAGS="--cfg shuttle" cargo test --locked --package linchpin-server --lib \
        --target-dir target/shuttle shuttle_ -- "$@"
}
