"""Start the classification node: `ros2 launch shufflenet_ros classify.launch.py --show-args`."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

from shufflenet_ros.ros.params_file import check_params_file

PACKAGE, NODE = 'shufflenet_ros', 'shufflenet'
FAST_DDS_2, FAST_DDS_3 = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'


def in_share(*parts):
    """A file of the installed package."""
    return PathJoinSubstitution([FindPackageShare(PACKAGE), *parts])


ARGUMENTS = (
    # name, default, description
    ('model', '', 'Bundle to run: a name or a path. Empty: the one of params_file.'),
    ('cameras', '', 'Comma-separated names, such as front,rear: each is read from <name>/image_raw. '
                    'Empty: those of params_file.'),
    ('image_topic', 'image_raw', 'Where a single camera publishes; several are remapped as '
                                 '<name>/image_raw -> <name>/<image_topic> where this is a relative name.'),
    ('image_transport', '', 'raw or compressed (subscribes to <image topic>/compressed). '
                            'Empty: that of params_file.'),
    ('backend', '', 'auto, native or onnxruntime. Empty: that of params_file.'),
    ('precision', '', 'auto, fp32, fp16 or int8. Empty: that of params_file.'),
    ('params_file', in_share('config', 'classify.yaml'),
     'Parameter file; one that is missing or has no section for this node is an error.'),
    ('namespace', '', 'Namespace of the node and of relative topics.'),
    ('use_sim_time', 'false', 'Take the time from /clock: true for a replayed bag or a simulator.'),
    ('log_level', 'info', 'debug, info, warn, error or fatal.'),
    ('autostart', 'true', 'Configure and activate at once; false leaves that to a lifecycle manager.'),
    ('respawn', 'false', 'Start the node again 1 s after it ends; with autostart it comes back active.'),
)


def remappings(cameras, image_topic):
    """From each image_raw that the node asks for to the topic it is on."""
    if image_topic == 'image_raw':
        return []
    if not cameras:
        return [('image_raw', image_topic)]
    if image_topic.startswith(('/', '~')):
        raise RuntimeError(f'image_topic: got {image_topic!r} with cameras, expected a name relative to each '
                           'camera, such as image_color')
    return [(f'{camera}/image_raw', f'{camera}/{image_topic}') for camera in cameras]


def dds_profile(environment):
    """Large images need larger shared-memory segments; whoever has set a profile keeps it.

    The variable is the node's alone, and the one that its Fast DDS knows: version 3 warns of the old one.
    """
    if FAST_DDS_2 in environment or FAST_DDS_3 in environment:
        return {}
    variable = FAST_DDS_2 if environment.get('ROS_DISTRO') in ('humble', 'iron', 'jazzy') else FAST_DDS_3
    return {variable: in_share('config', 'fastdds_large_images.xml')}


def full_name(context):
    """The node's name as it will be, also inside a group that pushes a namespace."""
    pushed = context.launch_configurations.get('ros_namespace')
    namespace = make_namespace_absolute(prefix_namespace(
        pushed, LaunchConfiguration('namespace').perform(context)))
    return f'{namespace.rstrip("/")}/{NODE}'


def make_node(context):
    """The node, once the arguments are known; an error here starts nothing."""
    def argument(name):
        return LaunchConfiguration(name).perform(context)

    check_params_file(argument('params_file'), full_name(context))
    cameras = [name.strip() for name in argument('cameras').split(',') if name.strip()]
    given = {name: ParameterValue(argument(name), value_type=str)
             for name in ('model', 'image_transport', 'backend', 'precision') if argument(name)}
    if cameras:
        given['cameras'] = cameras
    for name in ('autostart', 'use_sim_time'):
        given[name] = ParameterValue(LaunchConfiguration(name), value_type=bool)
    return [LifecycleNode(
        package=PACKAGE, executable='classify_node', name=NODE, namespace=argument('namespace'),
        # The node's own parameter `autostart` does what launch_ros' does, also under `ros2 run` and respawn.
        parameters=[argument('params_file'), given], remappings=remappings(cameras, argument('image_topic')),
        arguments=['--ros-args', '--log-level', argument('log_level')],
        additional_env=dds_profile(context.environment),
        respawn=argument('respawn').lower() == 'true', respawn_delay=1.0, output='both', emulate_tty=True)]


def generate_launch_description():
    """What `ros2 launch` runs."""
    declared = [DeclareLaunchArgument(name, default_value=default, description=text)
                for name, default, text in ARGUMENTS]
    return LaunchDescription([*declared, OpaqueFunction(function=make_node)])
