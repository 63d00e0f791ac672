# make setup: .venv with everything the node needs. PYTHON=python3.12 make setup picks the interpreter.
# make demo: real video through the running node.  make test: all checks.  make figures: all measurements.

# Once .venv exists, its own Python stays the choice.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
SETUP = $(PYTHON) scripts/setup_env.py

.PHONY: setup demo test test-jazzy check figures clean

setup:
	@$(SETUP)

demo:
	@$(SETUP) demo
	@.venv/bin/python -m demo.run

test:
	@$(SETUP) test
	@$(MAKE) --no-print-directory check

# Everything that `make test` runs, without the set-up; the tests come last.
check:
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m pytest

# The ROS tests alone, on Jazzy's rclpy (`make test` runs them too, from test/package/test_jazzy.py).
test-jazzy:
	@$(SETUP) test
	.cache/jazzy/bin/python -m pytest test/ros

figures:
	@$(SETUP) test
	@.venv/bin/python -m benchmarks.figures

clean:
	rm -rf .venv .cache build install log out
