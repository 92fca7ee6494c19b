#!/bin/sh
# RUSTC_WRAPPER: libFuzzer's counters in this project's own code only, so that `tract` need not be built again.
rustc=$1
shift
case " $* " in
*" --crate-name nformer_edge "*)
    exec "$rustc" "$@" -Cpasses=sancov-module -Ccodegen-units=1 \
        -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$rustc" "$@" ;;
esac
