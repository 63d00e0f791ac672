# SPDX-License-Identifier: Apache-2.0
"""Checks of the libraries and of the model. They run in a child process, because a library may crash."""

import importlib
import platform
import time
from collections.abc import Iterator
from importlib.metadata import distributions
from typing import Any

from shufflenet_ros.core.errors import ShuffleNetError
from shufflenet_ros.core.pip import in_virtual_environment, pip_install, pip_uninstall
from shufflenet_ros.core.watch import Level
from shufflenet_ros.doctor.finding import Finding, error, ok, warn

# Module, the package's name, and how to get it. On a robot all but ONNX Runtime come from apt.
_LIBRARIES = (('numpy', 'NumPy', 'sudo apt install python3-numpy'),
              ('cv2', 'OpenCV', 'sudo apt install python3-opencv'),
              ('yaml', 'PyYAML', 'sudo apt install python3-yaml'),
              ('onnxruntime', 'ONNX Runtime', pip_install('onnxruntime', '--no-deps')))
_NUMPY_2 = ("it was built for NumPy 1; pip's NumPy 2 hides apt's",
            pip_install('numpy<2') if in_virtual_environment() else pip_uninstall('numpy'))
_HEADLESS = pip_install('opencv-python-headless', '--no-deps')
# Part of an import error -> cause and remedy.
_CLASHES = {
    'multiarray': _NUMPY_2,
    '_ARRAY_API': _NUMPY_2,
    'libGL': ("pip's opencv-python needs libraries of a desktop",
              f'{pip_uninstall("opencv-python")}; {_HEADLESS}'),
}


def check(request: dict[str, Any]) -> Iterator[Finding]:
    """Every finding; the model is only loaded if the libraries can be."""
    findings = list(_libraries())
    yield from findings
    if all(finding.level < Level.ERROR for finding in findings):
        yield from _model(request)


def _libraries() -> Iterator[Finding]:
    found, works = [f'Python {platform.python_version()}'], True
    for module, name, remedy in _LIBRARIES:
        try:
            library = importlib.import_module(module)
            found.append(f'{name} {library.__version__}')
        except Exception as problem:  # a library that doesn't fit raises anything
            text = ' '.join(f'{name}: {type(problem).__name__}: {problem}'.split())
            clash = next((known for part, known in _CLASHES.items() if part in text), ('', ''))
            if isinstance(problem, ModuleNotFoundError) and problem.name == module:
                text = f'{name} is not installed'
            elif clash[0]:
                text, remedy = f'{text} ({clash[0]})', clash[1]
            if module == 'onnxruntime':  # native kernels work without it
                yield warn('libraries', text, 'that it can be imported', remedy)
            else:
                works = False
                yield error('libraries', text, 'that it can be imported', remedy)
    opencv = sorted({name for dist in distributions()
                     if (name := (dist.metadata['Name'] or '').lower()).startswith('opencv-')})
    if len(opencv) > 1:
        yield warn('libraries', f'{" and ".join(opencv)} overwrite each other', 'one OpenCV',
                   f'{pip_uninstall(*opencv)}; {_HEADLESS}')
    if works:
        yield ok('libraries', ', '.join(found))


def _model(request: dict[str, Any]) -> Iterator[Finding]:
    from shufflenet_ros.backends.load import load
    from shufflenet_ros.backends.native import cpu_features
    from shufflenet_ros.bundles.variants import VariantUnavailableError

    try:
        yield ok('cpu', f'{platform.machine()}: {", ".join(cpu_features()) or "no feature for fast kernels"}')
    except VariantUnavailableError as problem:
        text, _, remedy = str(problem).rpartition('; ')
        yield warn('cpu', f'{platform.machine()}: {text}', 'the native kernels, which are faster', remedy)
    started, name = time.monotonic(), request['model']
    try:
        loaded = load(name, card=request['card'], backend=request['backend'], precision=request['precision'])
    except ShuffleNetError as problem:
        yield error('model', str(problem), 'a model that runs here', f'shufflenet-ros models check {name}')
        return
    found = f'{loaded.card.name} on {loaded.choice}; loaded in {time.monotonic() - started:.1f} s'
    yield ok('model', found) if not loaded.fallback else warn(
        'model', found, 'its native variant, which is faster', f'shufflenet-ros models check {name}')
