# SPDX-License-Identifier: Apache-2.0
"""The executable classify_node: one process, one node, until a signal ends it."""

import os
import sys
from collections.abc import Sequence

# Everything else is imported after main() has installed the signal handlers.
from shufflenet_ros.ros.signals import StopSignals, exit_now

STOP_TIMEOUT_S = 1.0


def main(args: Sequence[str] | None = None) -> int:
    """Run the node and return the exit status, 0 after SIGINT or SIGTERM."""
    signals = StopSignals()
    from shufflenet_ros.ros.allocator import keep_large_blocks
    keep_large_blocks()
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    _ensure_log_directory()
    try:
        rclpy.init(args=None if args is None else list(args), signal_handler_options=SignalHandlerOptions.NO)
        status, ended = _run(signals)
    except Exception as error:
        # Arguments or a parameter file that ROS cannot read; the node handles all later errors.
        if not signals.stopped():
            more = '; `shufflenet-ros doctor` says how to install it' * isinstance(error, ImportError)
            print(f'classify_node: cannot start: {error}{more}', file=sys.stderr)
            return 1
        status, ended = 0, True
    rclpy.try_shutdown()
    signals.ignore_signals()
    if not ended:
        exit_now(status)
    return status


def _run(signals: StopSignals) -> tuple[int, bool]:
    """Make the node and spin it; return the exit status and whether every inference has ended."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from shufflenet_ros.core.service_manager import notify
    from shufflenet_ros.ros.callback_errors import spin_guarded
    from shufflenet_ros.ros.node import SUCCESS, ClassifyNode

    node = ClassifyNode()
    signals.on_stop(node.create_guard_condition(lambda: None).trigger)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    if node.value_of('autostart') and not signals.stopped() and node.trigger_configure() == SUCCESS:
        node.trigger_activate()
    notify('READY=1')  # also after a failed configure: the node is there, and an operator can fix it
    spin_guarded(executor, lambda: signals.stopped() or not rclpy.ok() or node.exit_status != 0,
                 node.errors.note)
    notify('STOPPING=1')
    ended = node.close(STOP_TIMEOUT_S)
    executor.shutdown(timeout_sec=0.0)
    return node.exit_status, ended


def _ensure_log_directory() -> None:
    """Use a temporary log directory where ROS cannot write logs: it would not start on a read-only home."""
    home = os.environ.get('ROS_HOME') or os.path.join(os.path.expanduser('~'), '.ros')
    wanted = os.environ.get('ROS_LOG_DIR') or os.path.join(home, 'log')
    try:
        os.makedirs(wanted, exist_ok=True)
        if os.access(wanted, os.W_OK):
            os.environ['ROS_LOG_DIR'] = wanted  # without HOME, ROS would not find it
            return
    except OSError:
        pass
    import tempfile
    os.environ['ROS_LOG_DIR'] = instead = tempfile.mkdtemp(prefix='ros_log_')
    print(f"classify_node: {wanted} can't be written; logs go to {instead}", file=sys.stderr)


if __name__ == '__main__':
    sys.exit(main())
