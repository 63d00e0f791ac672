# SPDX-License-Identifier: Apache-2.0
"""The onnxruntime backend: one session, checked against its card when it starts.

Importing this module raises VariantUnavailableError if onnxruntime is not installed.
"""

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from shufflenet_ros.bundles.errors import ModelError, mismatch
from shufflenet_ros.bundles.onnx_file import read_summary
from shufflenet_ros.bundles.variants import ResolvedModel, VariantUnavailableError
from shufflenet_ros.core.card import Card
from shufflenet_ros.core.frame import F32, Outputs
from shufflenet_ros.core.pip import pip_install

# onnxruntime 1.32 and later report to Microsoft over HTTPS from a thread, unless this is set before it is
# loaded. A robot is offline by design. If the operator has set the variable, that value is used.
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')

try:
    import onnxruntime as ort
except ImportError as error:
    # Without --no-deps pip brings NumPy 2, with which Ubuntu 22.04's OpenCV cannot be imported.
    raise VariantUnavailableError(f'onnxruntime cannot be imported: {error}; install it: '
                                  + pip_install('onnxruntime', '--no-deps')) from error

PROVIDERS = {
    'cpu': 'CPUExecutionProvider',
    'cuda': 'CUDAExecutionProvider',
    'tensorrt': 'TensorrtExecutionProvider',
    'openvino': 'OpenVINOExecutionProvider',
    'xnnpack': 'XnnpackExecutionProvider',
    'migraphx': 'MIGraphXExecutionProvider',
    'qnn': 'QNNExecutionProvider',
    'cann': 'CANNExecutionProvider',
    'acl': 'ACLExecutionProvider',
    'armnn': 'ArmNNExecutionProvider',
}
# The providers that `auto` tries. TensorRT must be requested by name: it builds an engine for minutes.
AUTO = ('cuda', 'openvino', 'cpu')
MAX_THREADS = 64

_FLOAT, _UINT8 = 'tensor(float)', 'tensor(uint8)'
_ONNX_TYPES = {'float32': _FLOAT, 'uint8': _UINT8}


def present_providers() -> tuple[str, ...]:
    """The keys of PROVIDERS that this build of onnxruntime has."""
    available = set(ort.get_available_providers())
    return tuple(name for name, full_name in PROVIDERS.items() if full_name in available)


class OnnxRuntimeBackend:
    """Runs an ONNX file with onnxruntime. Used by one thread at a time.

    Raises:
        ModelError: the provider is missing or does not start, the file does not load, or its inputs and
            outputs do not match the card.
    """

    name = 'onnxruntime'

    def __init__(self, model: ResolvedModel, provider: str = 'cpu', threads: int = 1):
        self._card = model.card
        self._what = str(model.path)
        if not 1 <= threads <= MAX_THREADS:
            raise mismatch('threads', f'1 to {MAX_THREADS}', str(threads), 'use 1 on a busy board')
        self._session = _start(model, _provider_names(provider), threads)
        self.provider: str = self._session.get_providers()[0]
        self._input = _check_input(self._what, self._session, self._card)
        self._outputs = _check_outputs(self._what, self._session, self._card)

    def run(self, tensor: npt.NDArray[Any]) -> Outputs:
        """The card's input tensor, batch 1, to logits (C,) and embedding (D,), float32.

        Raises:
            ModelError: outputs of another shape than the card says (possible with dynamic shapes).
            Exception: any error of onnxruntime.
        """
        values = self._session.run(self._outputs, {self._input: tensor})
        logits = self._row(values[0], 'logits', len(self._card.labels))
        if len(values) == 1:
            return Outputs(logits, None)
        return Outputs(logits, self._row(values[1], 'embedding', self._card.embedding['dim']))

    def _row(self, value: npt.NDArray[Any], what: str, length: int) -> F32:
        if value.shape != (1, length):
            raise mismatch(self._what, f'{what} of shape (1, {length})', f'{value.shape}', 'correct the card')
        return np.asarray(value[0], np.float32)


def _provider_names(provider: str) -> tuple[str, ...]:
    """The keys of PROVIDERS to try, in order."""
    present = present_providers()
    if provider == 'auto':
        return tuple(name for name in AUTO if name in present)
    if provider not in PROVIDERS:
        raise mismatch('provider', f'one of {["auto", *PROVIDERS]}', repr(provider[:80]), 'correct it')
    if provider not in present:
        expected = f'one of {["auto", *present]}, all that this onnxruntime {ort.__version__} was built with'
        raise mismatch('provider', expected, repr(provider),
                       f'install an onnxruntime with {PROVIDERS[provider]}, or choose another')
    return (provider,)


def _start(model: ResolvedModel, names: tuple[str, ...], threads: int) -> ort.InferenceSession:
    """A session on the first provider that really starts."""
    for name in names:
        try:
            session = _session(model, PROVIDERS[name], threads)
        except Exception as error:
            if name == names[-1]:
                raise _not_loaded(model, error) from error
            continue
        # A GPU provider whose libraries are missing does not raise: the session is on the CPU, 10x slower.
        if session.get_providers()[0] == PROVIDERS[name]:
            return session
    raise mismatch('provider', f'{names[-1]!r} to start', f'{session.get_providers()}',
                   'check the driver and the libraries of this provider, or choose another')


def _session(model: ResolvedModel, provider: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for thread_pool in ('intra_op', 'inter_op'):
        options.add_session_config_entry(f'session.{thread_pool}.allow_spinning', '0')
    # x86 without VNNI adds pairs of uint8 x int8 products in 16 bits, which saturates: without this option
    # the ImageNet int8 model gets 29 of 40 photos right instead of 33. It does nothing on other CPUs.
    options.add_session_config_entry('session.x64quantprecision', '1')
    # The bytes were checked as ONNX: they must not be read as another format.
    options.add_session_config_entry('session.load_model_format', 'ONNX')
    providers = list(dict.fromkeys((provider, PROVIDERS['cpu'])))
    # onnxruntime's own fallback prints to stdout and hides a broken provider.
    return ort.InferenceSession(model.data, options, providers=providers, enable_fallback=0)


def _not_loaded(model: ResolvedModel, error: Exception) -> ModelError:
    facts = read_summary(model.data)
    opset = facts.opsets.get('', facts.opsets.get('ai.onnx'))
    got = f'opset {opset}, IR version {facts.ir_version}: {" ".join(str(error).split())[:300]}'
    return mismatch(str(model.path), f'a model that onnxruntime {ort.__version__} can load', got,
                    'export it again; opset <= 17 and IR version <= 8 load with every runtime we support')


def _check_input(what: str, session: ort.InferenceSession, card: Card) -> str:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise mismatch(what, 'one input', f'{len(inputs)}: {[i.name for i in inputs][:5]}',
                       'export the model with the image as its only input')
    expected = _ONNX_TYPES[card.input.dtype]
    if inputs[0].type != expected:
        raise mismatch(what, f'input {expected} (card field input.dtype)', inputs[0].type, 'correct the card')
    if not _fits(inputs[0].shape, card.input.shape):
        expected = f'input of shape {list(card.input.shape)} (card fields input.layout, input.size)'
        raise mismatch(what, expected, str(inputs[0].shape), 'correct the card')
    return str(inputs[0].name)


def _check_outputs(what: str, session: ort.InferenceSession, card: Card) -> list[str]:
    by_name = {output.name: output for output in session.get_outputs()}
    lengths = {'logits': (len(card.labels), 'labels'),
               'embedding': (card.embedding.get('dim', 0), 'embedding.dim')}
    names = [(role, card.outputs[role]) for role in lengths if role in card.outputs]
    for role, name in names:
        if name not in by_name:
            raise mismatch(what, f'an output {name!r} (card field outputs.{role})', str(list(by_name)[:10]),
                           'correct the card, or add one: shufflenet-ros models add-embedding')
        output, (length, field) = by_name[name], lengths[role]
        if output.type != _FLOAT:
            raise mismatch(what, f'{role} {_FLOAT}', output.type, 'add a Cast or DequantizeLinear after it')
        if not _fits(output.shape, (1, length)):
            raise mismatch(what, f'{role} of shape [1, {length}] (card field {field})', str(output.shape),
                           'correct the card')
    return [name for _, name in names]


def _fits(shape: list[Any], expected: tuple[int, ...]) -> bool:
    """Whether a declared shape, with names or None for dynamic dimensions, allows the expected one."""
    return len(shape) == len(expected) and all(
        not isinstance(got, int) or got == wanted for got, wanted in zip(shape, expected, strict=True))
