# SPDX-License-Identifier: Apache-2.0
"""From a name or path to results: the public int8 ImageNet model runs by its path alone."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import TensorProto
from onnx_models import SIZE, card, classifier, good, model, nodes, value, weights, write

from shufflenet_ros.backends.load import LoadedModel, load
from shufflenet_ros.core.classifier import Classifier
from shufflenet_ros.core.frame import DecodedImage, Options


@pytest.fixture(scope='module')
def int8(shared_data: Path) -> LoadedModel:
    return load(str(shared_data / 'shufflenet_v2_x1_0_int8.onnx'))


def test_the_int8_model_runs_by_its_path_alone(int8: LoadedModel) -> None:
    assert int8.bundle.card_from.startswith('packaged ')
    assert (len(int8.card.labels), int8.card.network) == (1000, 'shufflenet_v2_x1_0')
    assert int8.backend.provider == 'CPUExecutionProvider'
    assert 'ImageNet' in int8.terms and 'non-commercial research' in int8.terms and 'BSD-3' in int8.terms


def test_the_int8_model_names_at_least_32_of_40_photos(int8: LoadedModel, shared_data: Path) -> None:
    classifier, right = Classifier(int8.card, int8.backend), 0
    photos = json.loads((shared_data / 'photos' / 'labels.json').read_text())
    assert len(photos) == 40
    for file, expected in photos.items():
        index = expected['imagenet_index']
        assert int8.card.labels[index] == expected['name']
        image = DecodedImage(np.asarray(cv2.imread(str(shared_data / 'photos' / file)), np.uint8), 'bgr')
        right += classifier.classify_image(image, Options()).predictions[0].index == index
    print(f'{right} of 40 right')
    assert right >= 32
    assert [int8.card.labels[i] for i in (134, 517)] == ['crane (bird)', 'crane (machine)']


def test_missing_terms_are_reported(tmp_path: Path) -> None:
    path = write(tmp_path / 'm.onnx', classifier(), card(training=None, license=None))
    terms = load(str(path)).terms
    assert '\n' not in terms
    assert terms.count('the card names none') == 2 and 'data the card does not name' in terms


def test_images_are_preprocessed_as_the_card_says(tmp_path: Path) -> None:
    """The same network with another kind of input gives the same logits for the same image."""
    made = nodes()
    made[0].op_type = 'Identity'
    del made[0].attribute[:]
    made[1].attribute[0].ints[:] = [2, 3]
    proto = model(made, [value('image', TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
                  [value('logits', TensorProto.FLOAT, [1, 4])], weights())
    spec = {'layout': 'NCHW', 'dtype': 'float32', 'size': [SIZE, SIZE], 'color': 'rgb', 'scale': 1.0}
    bare = card(input=spec, outputs={'logits': 'logits'}, embedding=None)
    other = load(str(write(tmp_path / 'nchw.onnx', proto, bare)))
    image = DecodedImage(np.random.default_rng(5).integers(0, 256, (20, 30, 3), np.uint8), 'bgr')
    nchw, nhwc = (Classifier(m.card, m.backend).classify_image(image, Options(top_k=4)).predictions
                  for m in (other, load(str(good(tmp_path)))))
    assert [prediction.index for prediction in nchw] == [prediction.index for prediction in nhwc]
    np.testing.assert_allclose([prediction.score for prediction in nchw],
                               [prediction.score for prediction in nhwc], atol=1e-5)


def test_opening_a_model_loads_neither_torch_nor_onnx_nor_ros(repo_root: Path, tmp_path: Path) -> None:
    code = (f'import sys; from shufflenet_ros.backends.load import load; load({str(good(tmp_path))!r}); '
            "bad = {'torch', 'onnx', 'rclpy', 'yaml'} & set(sys.modules); "
            "sys.exit(f'loaded: {bad}' if bad else 0)")
    done = subprocess.run([sys.executable, '-c', code], cwd=repo_root, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
