# SPDX-License-Identifier: Apache-2.0
# make setup: .venv with everything the node needs. PYTHON=python3.12 make setup picks the interpreter.
# make demo: real video through the running node.  make test: all checks.  make figures: all measurements.
# make test-full: the same as make test, with the slow tests in full, and make test-robot.
# make test-robot: README's installation on a robot, in a Debian chroot.

# Once .venv exists, its own Python stays the choice.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
SETUP = $(PYTHON) scripts/setup_env.py
# Without ROS_DOMAIN_ID each run of the tests chooses its own domain, and receives no messages of others.
# A distribution's pytest plugins are for its own pytest.
PYTEST = env -u ROS_DOMAIN_ID PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 .venv/bin/python -m pytest
# Tests that start the node, and tests that need PyTorch. All others are in check-rest.
ROS = ros demo
TORCH = zoo importers packer training
# From the longest to the shortest, so that the last ones fill the gaps.
# Beside a distribution there is no lint: what mypy reports depends on the versions of NumPy and rclpy.
CHECKS = check-ros check-rest check-torch check-native check-jazzy $(if $(ROS_DISTRO),,lint)

.PHONY: setup demo test test-full test-robot check $(CHECKS) lint-c figures clean

setup:
	@$(SETUP)

demo:
	@$(SETUP) demo
	@.venv/bin/python -m demo.run

test:
	@$(SETUP) test
	@$(MAKE) --no-print-directory check

# With all tests of the node on Jazzy's rclpy, and all tests of what depends on a release's package versions.
test-full:
	@SHUFFLENET_TEST_FULL=1 $(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory test-robot

test-robot:
	@$(SETUP)
	@.venv/bin/python scripts/robot.py

# Everything that `make test` runs, without the setup, three parts at a time. The tests with the node mostly
# wait, so two others run beside them, at a lower priority. Each part prints when it is done.
check:
	@echo 'check: $(CHECKS), three at a time; minutes of silence are normal'
	@.venv/bin/python native/build.py --werror --out .cache/native > /dev/null
	@SHUFFLENET_NATIVE_LIBRARY=$(CURDIR)/.cache/native/libshufflenet_native.so \
	    $(MAKE) --no-print-directory --jobs=3 --keep-going --output-sync=target $(CHECKS)

lint: lint-c
	.venv/bin/ruff check .
	.venv/bin/codespell
	nice .venv/bin/mypy
	.venv/bin/lint-imports

lint-c:
	.venv/bin/clang-format --dry-run --Werror $(shell find native -name '*.[ch]')

check-ros:
	$(PYTEST) $(addprefix test/,$(ROS))

check-rest:
	nice $(PYTEST) test --ignore=test/package/test_jazzy.py $(addprefix --ignore=test/,native $(ROS) $(TORCH))

check-torch:
	nice $(PYTEST) $(addprefix test/,$(TORCH))

check-native:
	nice $(PYTEST) test/native

check-jazzy:
	$(PYTEST) test/package/test_jazzy.py

figures:
	@$(SETUP) test
	@.venv/bin/python -m benchmarks.figures

clean:
	rm -rf .venv .cache build install log out
