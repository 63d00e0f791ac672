# SPDX-License-Identifier: Apache-2.0
# make setup: .venv with everything the node needs. PYTHON=python3.12 make setup picks the interpreter.
# make demo: real video through the running node.  make test: all checks.  make figures: all measurements.
# make test-full: make test, then the slow runs on the versions of each distribution.

# Once .venv exists, its own Python stays the choice.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
SETUP = $(PYTHON) scripts/setup_env.py
# Without ROS_DOMAIN_ID each run of the tests takes a domain of its own, so that they don't hear each other.
PYTEST = env -u ROS_DOMAIN_ID .venv/bin/python -m pytest
# The packages whose tests need PyTorch.
TORCH = zoo importers packer training

.PHONY: setup demo test test-full check lint lint-c check-ros check-rest check-torch check-native check-jazzy test-jazzy figures clean

setup:
	@$(SETUP)

demo:
	@$(SETUP) demo
	@.venv/bin/python -m demo.run

test:
	@$(SETUP) test
	@$(MAKE) --no-print-directory check

# All ROS tests on Jazzy's rclpy, and all tests of the version sets; `make test` runs a part of both.
test-full: test
	@$(MAKE) --no-print-directory test-jazzy
	SHUFFLENET_TEST_FULL=1 $(PYTEST) test/package/test_ubuntu.py

# Everything that `make test` runs, without the setup. The ROS tests mostly wait, so the others run beside
# them. Each part prints when it is done.
check:
	@echo 'check: lint, then five runs of pytest, two at a time; minutes of silence are normal'
	@.venv/bin/python native/build.py --werror --out .cache/native > /dev/null
	@SHUFFLENET_NATIVE_LIBRARY=$(CURDIR)/.cache/native/libshufflenet_native.so \
	    $(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target lint check-ros check-rest \
	    check-torch check-native check-jazzy

lint: lint-c
	.venv/bin/ruff check .
	.venv/bin/codespell
	.venv/bin/mypy
	.venv/bin/lint-imports

lint-c:
	.venv/bin/clang-format --dry-run --Werror $(shell find native -name '*.[ch]')

check-ros:
	$(PYTEST) test/ros

check-rest:
	$(PYTEST) test --ignore=test/ros --ignore=test/native --ignore=test/package/test_jazzy.py \
	    $(addprefix --ignore=test/,$(TORCH))

check-torch:
	$(PYTEST) $(addprefix test/,$(TORCH))

check-native:
	$(PYTEST) test/native

check-jazzy:
	$(PYTEST) test/package/test_jazzy.py

# All ROS tests on Jazzy's rclpy. `make test` runs the ones that depend most on its version.
test-jazzy:
	@$(SETUP) test
	env -u ROS_DOMAIN_ID .cache/jazzy/bin/python -m pytest test/ros

figures:
	@$(SETUP) test
	@.venv/bin/python -m benchmarks.figures

clean:
	rm -rf .venv .cache build install log out
