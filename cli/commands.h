// The commands of `trireme`, one function each: arguments as in main, the exit code back (0 done, 1 failed, 2 usage).
#pragma once

namespace trireme::cli {

int run_serve(int argc, char** argv);
int run_replica(int argc, char** argv);
int run_chat(int argc, char** argv);
int run_plan(int argc, char** argv);
int run_inspect(int argc, char** argv);
int run_tokenize(int argc, char** argv);
int run_render(int argc, char** argv);
int run_bench(int argc, char** argv);
int run_bench_engine(int argc, char** argv);
int run_bench_serve(int argc, char** argv);
int run_bench_router(int argc, char** argv);
int run_bench_scheduler(int argc, char** argv);
int run_bench_collective(int argc, char** argv);
int run_bench_ops(int argc, char** argv);
int run_bench_gpu(int argc, char** argv);

}  // namespace trireme::cli
