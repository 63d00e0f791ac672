"""The ament_python package: what colcon and pip build, and where each file goes."""

from glob import glob

from setuptools import find_packages, setup

NAME = 'shufflenet_ros'

setup(
    name=NAME,
    version='0.1.0',
    description='ShuffleNet on camera topics: classification and embedding, milliseconds later',
    author='shufflenet_ros maintainers',
    author_email='maintainers@shufflenet-ros.example',
    maintainer='shufflenet_ros maintainers',
    maintainer_email='maintainers@shufflenet-ros.example',
    license='Apache-2.0',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={
        NAME: ['py.typed'],
        f'{NAME}.backends': ['cards/*.json', '*.yaml'],
        f'{NAME}.zoo.training': ['recipes/*.yaml'],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        (f'share/{NAME}/launch', sorted(glob('launch/*.launch.py'))),
        (f'share/{NAME}/config', sorted(glob('config/*.*'))),
        (f'share/{NAME}/models', sorted(glob('models/*.*'))),
    ],
    entry_points={
        'console_scripts': [
            'shufflenet-ros = shufflenet_ros.cli:main',
            'classify_node = shufflenet_ros.ros.main:main',
        ],
    },
    # Humble's Python 3.10 is the oldest: a robot with an Orin board runs it until 2027.
    python_requires='>=3.10',
    # Lower bounds are the oldest set that the tests run on; no upper bounds, because on a robot the
    # distribution or the operator chooses. rclpy and the messages come from ROS and aren't listed:
    # no package of that name is on pip, and core, backends and bags work without ROS.
    install_requires=[
        'numpy>=1.26.4',  # the last 1.x: distributions' cv_bridge is built against it
        'opencv-python>=4.10',  # the first that works with NumPy 1.26 and 2 alike
        'onnxruntime>=1.23.2',  # the newest for Python 3.10, so what a Humble robot gets
        'PyYAML>=5.4',  # Ubuntu 22.04's
        'rosbags>=0.11',  # 0.11 brought the Writer arguments version and storage_plugin
        'tqdm>=4.57',  # Ubuntu 22.04's
    ],
    extras_require={
        'export': ['onnx>=1.21'],
        # lightning-fabric: devices, precision and processes of a training run
        'train': ['torch>=2.10', 'onnx>=1.21', 'lightning-fabric>=2.5', 'tensorboard>=2.16',
                  'matplotlib>=3.8'],
        'demo': ['matplotlib>=3.8'],
        'test': ['pytest>=8', 'hypothesis>=6.100'],
    },
    zip_safe=False,
)
