# SPDX-License-Identifier: Apache-2.0
"""Start the classification node: `ros2 launch shufflenet_ros classify.launch.py --show-args`."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

from shufflenet_ros.ros.dds_profile import variable_to_set
from shufflenet_ros.ros.launch_arguments import remappings, split_cameras
from shufflenet_ros.ros.params_file import check_params_file

PACKAGE, NODE = 'shufflenet_ros', 'shufflenet'


def in_share(*parts):
    """A file of the installed package."""
    return PathJoinSubstitution([FindPackageShare(PACKAGE), *parts])


ARGUMENTS = (
    # name, default, description
    ('model', '', 'Bundle to run: a name or a path. Empty: as in params_file.'),
    ('cameras', '', 'Comma-separated names, such as front,rear: each is read from <name>/image_raw. '
                    'Empty: as in params_file.'),
    ('image_topic', 'image_raw', 'Topic of a single camera. With several cameras, a relative name: '
                                 '<name>/image_raw is remapped to <name>/<image_topic>.'),
    ('image_transport', '', 'raw or compressed (subscribes to <image topic>/compressed). '
                            'Empty: as in params_file.'),
    ('backend', '', 'auto, native or onnxruntime. Empty: as in params_file.'),
    ('precision', '', 'auto, fp32, fp16 or int8. Empty: as in params_file.'),
    ('params_file', in_share('config', 'classify.yaml'),
     'Parameter file; it must exist and have a section for this node.'),
    ('namespace', '', 'Namespace of the node and of relative topics.'),
    ('use_sim_time', 'false', 'Use /clock: true for a replayed bag or a simulator.'),
    ('log_level', 'info', 'debug, info, warn, error or fatal.'),
    ('autostart', 'true', 'Configure and activate at start; false leaves that to a lifecycle manager.'),
    ('respawn', 'false', 'Restart the node 1 s after it ends; with autostart it becomes active again.'),
)


def dds_profile(environment):
    """The environment with larger shared-memory segments for large images, for the node only."""
    variable = variable_to_set(environment)
    return {variable: in_share('config', 'fastdds_large_images.xml')} if variable else {}


def full_name(context):
    """The node's fully qualified name, also inside a group that pushes a namespace."""
    pushed = context.launch_configurations.get('ros_namespace')
    namespace = make_namespace_absolute(prefix_namespace(
        pushed, LaunchConfiguration('namespace').perform(context)))
    return f'{namespace.rstrip("/")}/{NODE}'


def make_node(context):
    """The node for the given arguments. If an argument is invalid, nothing starts."""
    def argument(name):
        return LaunchConfiguration(name).perform(context)

    check_params_file(argument('params_file'), full_name(context))
    cameras = split_cameras(argument('cameras'))
    given = {name: ParameterValue(argument(name), value_type=str)
             for name in ('model', 'image_transport', 'backend', 'precision') if argument(name)}
    if cameras:
        given['cameras'] = cameras
    for name in ('autostart', 'use_sim_time'):
        given[name] = ParameterValue(LaunchConfiguration(name), value_type=bool)
    return [LifecycleNode(
        package=PACKAGE, executable='classify_node', name=NODE, namespace=argument('namespace'),
        # The parameter `autostart` replaces launch_ros's: it also works under `ros2 run` and after a respawn.
        parameters=[argument('params_file'), given], remappings=remappings(cameras, argument('image_topic')),
        arguments=['--ros-args', '--log-level', argument('log_level')],
        additional_env=dds_profile(context.environment),
        respawn=argument('respawn').lower() == 'true', respawn_delay=1.0, output='both', emulate_tty=True)]


def generate_launch_description():
    """The description for `ros2 launch`."""
    declared = [DeclareLaunchArgument(name, default_value=default, description=text)
                for name, default, text in ARGUMENTS]
    return LaunchDescription([*declared, OpaqueFunction(function=make_node)])
