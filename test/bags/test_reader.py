# SPDX-License-Identifier: Apache-2.0
"""Every kind of bag gives the same messages, and one error class."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from rosbags.convert.converter import convert
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.kinds import is_bag
from shufflenet_ros.bags.reader import Bag, BagMessage, stamp_ns
from shufflenet_ros.bags.writer import BagWriter

FRAMES, START_NS, PERIOD_NS = 6, 1_700_000_000_000_000_000, 33_333_333  # of conftest's bags
KINDS = ('mcap', 'db3', 'mcap file', 'db3 file', 'ROS 1', 'ROS 1 lz4', 'ROS 1 bz2', 'mcap chunks zstd',
         'mcap messages zstd', 'db3 messages zstd', 'db3 file zstd')


def read(path: Path, topics: list[str] | None = None) -> list[BagMessage]:
    with Bag(path) as bag:
        return list(bag.messages(topics))


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_bag_gives_the_same_messages(bags, kind):
    with Bag(bags[kind]) as bag:
        assert [(t.name, t.type, t.count, t.latched) for t in bag.topics] == [
            ('/camera/camera_info', 'sensor_msgs/msg/CameraInfo', FRAMES, False),
            ('/camera/image_raw', 'sensor_msgs/msg/Image', FRAMES, False),
            ('/camera/image_raw/compressed', 'sensor_msgs/msg/CompressedImage', FRAMES, False)]
        assert (bag.start_ns, bag.end_ns) == (START_NS + 1_000_000, START_NS + 5 * PERIOD_NS + 1_000_000)
        assert bag.ros1 == kind.startswith('ROS 1')
        images = list(bag.messages(['/camera/image_raw']))
        everything = list(bag.messages())
    assert [m.number for m in images] == list(range(FRAMES))
    assert [m.number for m in everything] == list(range(3 * FRAMES))
    assert sorted(m.log_ns for m in everything) == [m.log_ns for m in everything]
    y, x, c = np.ogrid[:24, :32, :3]
    for i, item in enumerate(images):
        image = item.message
        assert item.log_ns - 1_000_000 == stamp_ns(image) == START_NS + i * PERIOD_NS
        assert (image.height, image.width, image.encoding, image.step) == (24, 32, 'bgr8', 96)
        assert (image.is_bigendian, image.header.frame_id) == (0, 'optical')
        assert np.array_equal(image.data.reshape(24, 32, 3), (7 * y + 13 * x + 29 * c + 31 * i) % 256)
    jpegs = [m for m in everything if m.topic.endswith('compressed')]
    assert [bytes(m.message.data) for m in jpegs] == [bytes(range(i, i + 50)) for i in range(FRAMES)]
    assert {m.message.format for m in jpegs} == {'jpeg'}


@pytest.mark.parametrize('kind', KINDS)
def test_the_bytes_for_ros_2_are_those_that_were_written(bags, kind):
    def sent(path: Path) -> list[tuple[int, str, bytes]]:
        return sorted((m.log_ns, m.topic, bytes(m.cdr())) for m in read(path))
    assert sent(bags[kind]) == sent(bags['mcap'])


def test_camera_info_is_that_of_an_ideal_camera(bags):
    info = read(bags['db3'], ['/camera/camera_info'])[0].message
    assert (info.width, info.height, info.distortion_model) == (32, 24, 'plumb_bob')
    assert info.k.tolist() == [32, 0, 16, 0, 32, 12, 0, 0, 1]


@pytest.mark.parametrize('storage', ['mcap', 'db3'])
def test_the_metadata_is_what_humble_reads(bags, storage):
    information = yaml.safe_load((bags[storage] / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    assert information['version'] == 8
    assert information['message_count'] == 3 * FRAMES
    qos = [t['topic_metadata']['offered_qos_profiles'] for t in information['topics_with_message_count']]
    assert all(isinstance(text, str) for text in qos)


def test_both_byte_orders_of_16_bit_images_are_written(tmp_path):
    values = np.array([[1, 256], [515, 65535]])
    with BagWriter(tmp_path / 'bag') as bag:
        bag.image('/little', values.astype('<u2'), 'mono16', 1)
        bag.image('/big', values.astype('>u2'), 'mono16', 2)
    little, big = (m.message for m in read(tmp_path / 'bag'))
    assert (little.is_bigendian, big.is_bigendian, little.step) == (0, 1, 4)
    assert np.array_equal(little.data.view('<u2'), values.reshape(-1))
    assert np.array_equal(big.data.view('>u2'), values.reshape(-1))


def test_the_writer_rejects_what_it_cannot_write(tmp_path):
    with pytest.raises(BagError, match=r"storage 'rosbag': expected one of \['db3', 'mcap'\]"):
        BagWriter(tmp_path / 'a', 'rosbag')  # type: ignore[arg-type]
    with BagWriter(tmp_path / 'b') as bag:
        bag.compressed('/image', b'', 'jpeg', 1)
        with pytest.raises(BagError, match='topic /image has type sensor_msgs/msg/CompressedImage'):
            bag.camera_info('/image', 1, 1, 1)
    with pytest.raises(BagError, match='exists already'):
        BagWriter(tmp_path / 'b')


def test_latched_topics_are_recognized_in_both_ros_versions(tmp_path):
    never = QosTime(0, 0)
    latched = Qos(QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
                  never, never, QosLiveliness.AUTOMATIC, never, False)
    with Writer(tmp_path / 'two', version=8, storage_plugin=StoragePlugin.MCAP) as two:
        types = get_typestore(Stores.LATEST)
        two.add_connection('/map', 'sensor_msgs/msg/Image', typestore=types, offered_qos_profiles=[latched])
        two.add_connection('/image', 'sensor_msgs/msg/Image', typestore=types)
    with Writer1(tmp_path / 'one.bag') as one:
        types = get_typestore(Stores.ROS1_NOETIC)
        for topic, latching in (('/map', 1), ('/image', 0)):
            kind = one.add_connection(topic, 'sensor_msgs/msg/Image', typestore=types, latching=latching)
            one.write(kind, 1, bytes(45))
    with Bag(tmp_path / 'one.bag') as bag1:
        assert {t.name: t.latched for t in bag1.topics} == {'/map': True, '/image': False}
    with Bag(tmp_path / 'two') as bag2:
        assert {t.name: t.latched for t in bag2.topics} == {'/map': True, '/image': False}
        assert (bag2.start_ns, bag2.end_ns, list(bag2.messages())) == (0, 0, [])


def test_a_custom_type_is_read_by_the_definition_in_the_bag(tmp_path):
    types = get_typestore(Stores.LATEST)
    types.register(get_types_from_msg('int32 count\nstring name', 'my_msgs/msg/Own'))
    raw = types.serialize_cdr(types.types['my_msgs/msg/Own'](7, 'seven'), 'my_msgs/msg/Own')
    for storage in (StoragePlugin.MCAP, StoragePlugin.SQLITE3):
        path = tmp_path / storage.name
        with Writer(path, version=8, storage_plugin=storage) as writer:
            writer.write(writer.add_connection('/own', 'my_msgs/msg/Own', typestore=types), 5, raw)
        (item,) = read(path)
        assert (item.message.count, item.message.name) == (7, 'seven')


def test_a_broken_definition_affects_only_its_own_topic(tmp_path):
    with Writer(tmp_path / 'bag', version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        broken = writer.add_connection('/odd', 'my_msgs/msg/Odd', msgdef='no definition', rihs01='RIHS01_0')
        types = get_typestore(Stores.LATEST)
        good = writer.add_connection('/image', 'sensor_msgs/msg/CompressedImage', typestore=types)
        writer.write(broken, 1, b'\0\1\0\0')
        header = types.types['std_msgs/msg/Header'](types.types['builtin_interfaces/msg/Time'](1, 2), 'x')
        image = types.types['sensor_msgs/msg/CompressedImage'](header, 'jpeg', np.zeros(3, np.uint8))
        writer.write(good, 2, types.serialize_cdr(image, 'sensor_msgs/msg/CompressedImage'))
    odd, fine = read(tmp_path / 'bag')
    with pytest.raises(BagError, match=r'message 0 on /odd \(my_msgs/msg/Odd\) cannot be read'):
        odd.message  # noqa: B018
    assert stamp_ns(fine.message) == 1_000_000_002


def test_what_is_not_a_bag_or_lacks_the_topic_is_an_error(bags, tmp_path):
    (tmp_path / 'text.mcap').write_text('hello')
    (tmp_path / 'empty.bag').write_bytes(b'')
    for path, reason in ((tmp_path / 'text.mcap', 'mcap recover'), (tmp_path / 'empty.bag', 'be empty'),
                         (tmp_path / 'none.db3', 'does not exist'), (tmp_path, 'metadata.yaml')):
        with pytest.raises(BagError, match=reason) as caught:
            Bag(path)
        assert str(path) in str(caught.value)
    with Bag(bags['mcap']) as bag, pytest.raises(BagError, match=r"no topic \['/nope'\]: it has \['/camera"):
        list(bag.messages(['/nope']))


def test_bags_are_recognized_by_their_names(bags, tmp_path):
    assert all(is_bag(path) for path in bags.values())
    assert not is_bag(tmp_path)
    assert not is_bag(tmp_path / 'photo.jpg')


def test_the_real_bags_have_the_images_of_their_cameras(shared_data):
    with Bag(shared_data / 'bags' / 't265_office.bag') as bag:
        assert {t.name: t.count for t in bag.topics} == {
            '/camera/accel/sample': 6, '/camera/fisheye1/image_raw': 3, '/camera/fisheye2/image_raw': 3,
            '/camera/gyro/sample': 19, '/camera/odom/sample': 19}
        topics = [f'/camera/fisheye{i}/image_raw' for i in (1, 2)]
        images = [m.message for m in bag.messages(topics)]
    assert {(m.encoding, m.width, m.height, len(m.data)) for m in images} == {('mono8', 848, 800, 848 * 800)}
    with Bag(shared_data / 'bags' / 'raspicam_compressed.bag') as bag:
        (jpeg,) = bag.messages(['/raspicam_node/image/compressed'])
        assert bytes(jpeg.message.data[:3]) == b'\xff\xd8\xff'
        assert len(list(bag.messages(['/raspicam_node/camera_info']))) == 15


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('name', ['t265_office', 'raspicam_compressed'])
def test_ros_1_bytes_become_the_bytes_that_rosbags_convert_writes(shared_data, tmp_path, name, storage):
    source, types = shared_data / 'bags' / f'{name}.bag', get_typestore(Stores.LATEST)
    convert([source], tmp_path / 'bag', storage, 8, None, '', None, types, [], [], [], [])
    ours = [(m.topic, m.log_ns, bytes(m.cdr())) for m in read(source)]
    assert sorted(ours) == sorted((m.topic, m.log_ns, m.raw) for m in read(tmp_path / 'bag'))
    with Reader(tmp_path / 'bag') as reader:
        assert sorted(ours) == sorted((c.topic, t, bytes(raw)) for c, t, raw in reader.messages())
