#include "cli/commands.h"

int main(int argc, char** argv) { return trireme::cli::run_bench_engine(argc, argv); }
