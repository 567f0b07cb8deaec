# The two commands: `make serve` and `make test`. Everything else helps them.
#
#   make serve   install what is missing, build, serve the bundled model on CPU at http://127.0.0.1:8000
#   make test    install what is missing, build, run the tests (under 15 minutes on two cores)
#   make demo    serve, ask a few things, shut down; exit code 0 only if all of it worked
#   make build   build into build/ (binaries in build/bin)
#   make asan    build/asan with address and undefined-behaviour sanitizer, and its tests; make tsan: threads
#   make bench   the benchmarks, one JSON object a line
#   make clean   remove build/

BUILD := build
JOBS ?= $(shell nproc)
# The test suite's optional Python clients live here; never needed at run time.
VENV := $(BUILD)/venv

# Lets ccache, where it is installed, share objects between clones of the repository.
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1

.DEFAULT_GOAL := build
.PHONY: tidy asan tsan serve test test-all demo build bench clean deps deps-test check

deps:
	@tools/install_deps.sh build

deps-test:
	@tools/install_deps.sh test

$(BUILD)/build.ninja: | deps
	@cmake --preset release -DTRIREME_BUILD_TESTS=OFF >$(BUILD).configure.log 2>&1 \
	  || { cat $(BUILD).configure.log; rm -f $(BUILD).configure.log; exit 1; }
	@rm -f $(BUILD).configure.log

build: deps $(BUILD)/build.ninja
	@ninja -C $(BUILD) -j $(JOBS)

serve: build
	@exec $(BUILD)/bin/trireme serve configs/demo.yaml

demo: build
	@tools/demo.sh $(BUILD)/bin/trireme

# The openai package, for the tests that drive a cluster with it; without it they are skipped and say so.
$(VENV)/installed: tests/e2e/requirements.txt | deps-test
	@if python3 -m venv $(VENV) >/dev/null 2>&1 && $(VENV)/bin/pip install -q -r $< >/dev/null 2>&1; then touch $@; \
	  else echo "test: the packages of $< could not be installed; their tests are skipped"; fi

# Tests build in the same folder with the same flags: what is tested is what is served.
test: deps-test check $(VENV)/installed
	@cmake --preset release -DTRIREME_BUILD_TESTS=ON
	@ninja -C $(BUILD) -j $(JOBS)
	@cd $(BUILD) && ctest --output-on-failure -LE '^(bench|gpu|all)$$' --no-tests=error

# The whole topology matrix and the long fault tests.
test-all: deps-test check $(VENV)/installed
	@cmake --preset release -DTRIREME_BUILD_TESTS=ON
	@ninja -C $(BUILD) -j $(JOBS)
	@cd $(BUILD) && TRIREME_TEST_ALL=1 ctest --output-on-failure -LE '^(bench|gpu)$$' --no-tests=error

# Zero findings is the rule; what is suppressed in other people's libraries is in tests/support/sanitizers/.
asan tsan: deps-test
	@cmake --preset $@
	@ninja -C $(BUILD)/$@ -j $(JOBS)
	@ctest --preset $@

check:
	@python3 tools/check_layers.py

bench: build
	@tools/bench.sh $(BUILD)/bin/trireme

tidy:
	@tools/tidy.sh

clean:
	@rm -rf $(BUILD)
