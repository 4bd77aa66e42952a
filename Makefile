# The front door. Everything is built by CMake; this only knows the order of things.
BUILD := build
JOBS ?= $(shell nproc)

.PHONY: all build setup demo test bench lint clean

all: build

setup:
	@tools/setup

build: setup
	@cmake -S . -B $(BUILD) -G Ninja > $(BUILD).log 2>&1 || { cat $(BUILD).log; rm -f $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log
	@ninja -C $(BUILD) -j $(JOBS) --quiet

# Moves a live Redis between two platforms of this machine and back; MIB=512 megabytes of data.
demo: build
	@$(BUILD)/bin/ferry lab demo $(if $(MIB),--mib $(MIB)) --json $(BUILD)/demo/report.json

test: build
	@cd $(BUILD) && ctest --output-on-failure -j $(JOBS)

# Paired with CRIU where CRIU=/path/to/criu is given; SIZES="256 1024" in MiB.
bench: build
	@$(BUILD)/bin/ferry lab bench $(if $(CRIU),--criu $(CRIU)) $(if $(SIZES),--sizes $(SIZES)) \
		--json $(BUILD)/bench/report.json

lint: build
	@tools/setup lint
	@tools/lint

clean:
	@rm -rf $(BUILD)
