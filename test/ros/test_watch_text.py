# SPDX-License-Identifier: Apache-2.0
"""`shufflenet-ros watch --text`: the table of a real node over DDS."""

from __future__ import annotations

import re
import signal

import pytest
from driving import BEST_EFFORT, RED, Stream, active_node, plain
from replaying import process, wait_for

from shufflenet_ros.ros.observer import NodeNameError, Observer

WITHOUT_THE_EXTRA = """
import sys
sys.modules.update(dict.fromkeys(('aiohttp', 'jinja2')))
from shufflenet_ros.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_table_needs_no_extra_and_no_debug_image_and_says_when_nothing_comes(drive, model, tmp_path):
    log = tmp_path / 'text.log'
    with process(['-c', WITHOUT_THE_EXTRA, 'watch', '--text'], log) as child:
        wait_for(lambda: 'nothing from /shufflenet for' in log.read_text(), 'that nothing comes')
        with active_node(drive, tmp_path / 'node.log', {'model': model, 'cameras': '[front]'}):
            camera = drive.camera('/front/image_raw', qos=BEST_EFFORT)
            with Stream(camera, plain(RED, size=(64, 64)), 30.0):
                wait_for(lambda: re.search('dropped: none\n.* red\n', log.read_text()), 'the first label')
                wait_for(lambda: 'frames arrive' in log.read_text(), 'the state')
                assert drive.operator.count_subscribers('/shufflenet/front/debug_image') == 0
                wait_for(lambda: child.send_signal(signal.SIGINT) or child.poll() is not None, 'its end')
                assert child.returncode == 0, 'Ctrl-C may come twice'
    text = log.read_text()
    for expected in ('/shufflenet: active  tiny  onnxruntime', 'camera front: [OK] OK: frames arrive',
                     'dropped: none', ' Hz, age in ms: p50 '):
        assert expected in text, text


@pytest.mark.parametrize('name', ['', 'shufflenet', '/a b', '/a/', '/x\x1b[2J'])
def test_a_wrong_node_name_is_an_error(name):
    with pytest.raises(NodeNameError, match='expected a name such as /shufflenet'):
        Observer(name, images=False)
