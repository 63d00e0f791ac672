# SPDX-License-Identifier: Apache-2.0
"""Write a bundle: an ONNX graph with its card in the metadata. Needs the onnx package (extra `export`)."""

from pathlib import Path
from typing import Any

from shufflenet_ros.bundles.errors import mismatch
from shufflenet_ros.core.card import METADATA_KEY, Card
from shufflenet_ros.core.files import write_whole

MAX_OPSET = 17
MAX_IR = 8
"""onnxruntime 1.23.2 rejects newer ones. It is the newest for Python 3.10, and so for a Humble robot."""


def import_onnx() -> Any:
    """The onnx package.

    Raises:
        ModuleNotFoundError: not installed; the message names the extra to install.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("writing ONNX needs the onnx package: pip install 'shufflenet_ros[export]'",
                                  name='onnx') from error
    return onnx


def save_bundle(graph: bytes, card: Card, path: Path) -> None:
    """Write an ONNX graph with a card in its metadata, whole or not at all.

    Raises:
        ModelError: the graph's opset is newer than robots can run.
        WriteError: the file cannot be written.
    """
    onnx = import_onnx()
    model = onnx.load_from_string(graph)
    opset = max(entry.version for entry in model.opset_import if entry.domain in ('', 'ai.onnx'))
    if opset > MAX_OPSET:
        raise mismatch(path.name, f'opset <= {MAX_OPSET}', str(opset), 'export again with a lower one')
    # Fields of IR versions above 8 don't occur at opset 17 and below, so lowering the number is enough.
    model.ir_version = min(model.ir_version, MAX_IR)
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=METADATA_KEY, value=card.to_json())
    write_whole(path, model.SerializeToString())
