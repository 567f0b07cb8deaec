#include "cli/commands.h"

int main(int argc, char** argv) { return trireme::cli::run_bench_scheduler(argc, argv); }
