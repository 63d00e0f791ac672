# SPDX-License-Identifier: Apache-2.0
"""The ament_python package: what colcon and pip build, and where each file goes."""

import importlib.util
import sys
import xml.etree.ElementTree as ElementTree
from glob import glob
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70
    try:
        from wheel.bdist_wheel import bdist_wheel
    except ImportError:  # colcon makes no wheel
        bdist_wheel = object

NAME = 'shufflenet_ros'
HERE = Path(__file__).resolve().parent
# Version, contact and addresses are written in package.xml and nowhere else.
MANIFEST = ElementTree.parse(HERE / 'package.xml').getroot()
MAINTAINER = MANIFEST.find('maintainer')
URLS = {url.get('type'): url.text for url in MANIFEST.findall('url')}


def native_build():
    """The module native/build.py."""
    spec = importlib.util.spec_from_file_location('native_build', HERE / 'native/build.py')
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up here.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class PlatformWheel(bdist_wheel):
    """One wheel for every Python of a processor: the library is plain C, which ctypes calls."""

    def get_tag(self) -> tuple:
        """The tag. The compiler decides for which processor: `CC=aarch64-linux-gnu-gcc pip wheel .`."""
        native, platform = native_build(), super().get_tag()[2]
        try:
            machine = native.machine_of(native.find_compiler())
        except native.BuildError:
            machine = ''
        return 'py3', 'none', f'linux_{machine}' if machine in ('aarch64', 'x86_64') else platform


class BuildNative(build_ext):
    """Compiles native/ into one plain shared library, for any Python. Without a compiler there is none."""

    @property
    def _folder(self) -> Path:
        in_place = self.inplace or getattr(self, 'editable_mode', False)
        return Path(HERE if in_place else self.build_lib, NAME, 'backends')

    def run(self) -> None:
        """Build. If that fails, warn, and install the package without the library."""
        native = native_build()
        try:
            native.build(self._folder)
        except native.BuildError as error:
            self.warn(f'the native kernels are not built, so ONNX Runtime is needed: {error}')

    def get_outputs(self) -> list:
        """The built library, for the list of installed files."""
        return [str(path) for path in self._folder.glob('libshufflenet_native.so')]

    def get_output_mapping(self) -> dict:
        """Empty: nothing is built in one place and moved to another."""
        return {}


setup(
    name=NAME,
    version=MANIFEST.findtext('version'),
    description=' '.join(MANIFEST.findtext('description').split()),
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=MAINTAINER.text,
    author_email=MAINTAINER.get('email'),
    maintainer=MAINTAINER.text,
    maintainer_email=MAINTAINER.get('email'),
    url=URLS['website'],
    project_urls={'Source': URLS['repository'], 'Issues': URLS['bugtracker']},
    license=MANIFEST.findtext('license'),
    keywords=['ROS 2', 'ShuffleNet', 'image classification', 'embedding', 'robotics', 'edge inference'],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: C',
        'Programming Language :: Python :: 3',
        *(f'Programming Language :: Python :: 3.{minor}' for minor in (10, 11, 12, 13)),
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={
        NAME: ['py.typed'],
        f'{NAME}.bundles': ['cards/*.json', '*.yaml'],
        f'{NAME}.pages': ['templates/*.html'],
        f'{NAME}.training': ['recipes/*.yaml'],
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
            'shufflenet-ros = shufflenet_ros.cli.main:main',
            'classify_node = shufflenet_ros.ros.main:main',
        ],
    },
    # Humble's Python 3.10 is the oldest: a robot with an Orin board runs it until 2027.
    python_requires='>=3.10',
    # Lower bounds are the oldest set that the tests run on; no upper bounds, because on a robot the
    # distribution or the operator chooses. rclpy and the messages come from ROS and aren't listed:
    # pip has no package of that name, and core, backends and bags work without ROS. colcon ignores this list:
    # apt has all of it but ONNX Runtime, which README installs.
    install_requires=[
        'numpy>=1.21',  # Ubuntu 22.04's
        'opencv-python-headless>=4.5.4',  # Ubuntu 22.04's; it needs no library of a desktop, such as libGL
        'onnxruntime>=1.23.2',  # the newest for Python 3.10, so what a Humble robot gets
        'PyYAML>=5.4',  # Ubuntu 22.04's
        'tqdm>=4.57',  # Ubuntu 22.04's
    ],
    extras_require={
        'bags': ['rosbags>=0.11'],  # 0.11 brought the Writer arguments version and storage_plugin
        'export': ['onnx>=1.21'],
        'pages': ['Jinja2>=3'],  # `report`; in apt on every distribution
        'foxglove': ['mcap>=1.1', 'rosbags>=0.11'],  # `classify --annotate out.mcap`
        'web': ['aiohttp>=3.8', 'Jinja2>=3'],  # `watch`; apt has both on every distribution
        # lightning-fabric: devices, precision and processes of a training run; scikit-learn: a teacher's head
        'train': ['torch>=2.10', 'onnx>=1.21', 'lightning-fabric>=2.5', 'scikit-learn>=1.6',
                  'tensorboard>=2.16', 'matplotlib>=3.8'],
        'demo': ['matplotlib>=3.8'],
        'test': ['pytest>=8', 'hypothesis>=6.100'],
    },
    cmdclass={'build_ext': BuildNative, 'bdist_wheel': PlatformWheel},
    ext_modules=[Extension(f'{NAME}.backends.libshufflenet_native',
                           sorted(glob('native/src/**/*.c', recursive=True)),
                           depends=sorted(glob('native/**/*.[hp]*', recursive=True)))],
    zip_safe=False,
)
