#include "cli/commands.h"

int main(int argc, char** argv) { return trireme::cli::run_bench_gpu(argc, argv); }
