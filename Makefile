# The front door. Everything is built by CMake; this only knows the order of things.
BUILD := build
JOBS ?= $(shell nproc)
# A moving line on a terminal, silence elsewhere.
NINJA = if [ -t 1 ]; then quiet=; else quiet=--quiet; fi; ninja -C $(BUILD) -j $(JOBS) $$quiet

.PHONY: all build programs configure setup demo test bench lint clean

all: build

setup:
	@tools/setup

configure: setup
	@mkdir -p $(BUILD)
	@cmake -S . -B $(BUILD) -G Ninja > $(BUILD)/configure.log 2>&1 || { cat $(BUILD)/configure.log; exit 1; }

# Everything, tests too.
build: configure
	@$(NINJA)

# What the demo and the bench run.
programs: configure
	@$(NINJA) ferry ferryd

# Moves a live Redis between two platforms of this machine and back; MIB=512 mebibytes of data.
demo: programs
	@$(BUILD)/bin/ferry lab demo $(if $(MIB),--mib $(MIB)) --json $(BUILD)/demo/report.json

test: build
	@cd $(BUILD) && ctest --output-on-failure -j $(JOBS)

# Paired with CRIU where CRIU=/path/to/criu is given; SIZES="256 1024" in MiB.
bench: programs
	@$(BUILD)/bin/ferry lab bench $(if $(CRIU),--criu $(CRIU)) $(if $(SIZES),--sizes $(SIZES)) \
		--json $(BUILD)/bench/report.json

lint: build
	@tools/setup lint
	@tools/lint

clean:
	@rm -rf $(BUILD)
