#!/bin/sh
# Compiles a crate of ours so that libFuzzer sees which branches an input takes: cargo calls this
# in the place of the compiler (RUSTC_WORKSPACE_WRAPPER). Other crates are compiled as usual, and need not
# be compiled again; a build script runs without libFuzzer.
case " $* " in
*" --crate-name build_script_build "*) exec "$@" ;;
*" --crate-name "*) ;;
*) exec "$@" ;;
esac
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
