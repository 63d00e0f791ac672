# SPDX-License-Identifier: Apache-2.0
"""A labeled bag: the frames that `<bag>.labels.yaml` beside it labels."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.kinds import IMAGE_TYPES
from shufflenet_ros.bags.reader import Bag, BagMessage
from shufflenet_ros.core.reasons import DropReason, FrameError
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.label_file import SUFFIX, read_label_file
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset


def open_bag(path: Path, split: str = '') -> LabeledDataset:
    """Read the label file, then the bag once to count its frames. Frames outside every range are left out.

    Raises:
        DatasetError: a split was requested, or the label file is missing or invalid.
        BagError: the bag is damaged.
    """
    if split:
        raise DatasetError(f'{path}: no split {split}: a labeled bag has no splits; leave the split out')
    label_file = path.with_name(path.name + SUFFIX)
    with Bag(path) as bag:
        topics = [topic.name for topic in bag.topics if topic.type in IMAGE_TYPES]
        start_ns, duration_s = bag.start_ns, (bag.end_ns - bag.start_ns) / 1e9
        timelines = read_label_file(label_file, topics, duration_s)
        times = [(item.topic, item.log_ns - start_ns) for item in bag.messages(timelines)]
    found = [timelines[topic].label_at(time) for topic, time in times]
    numbers = [number for number, label in enumerate(found) if label is not None]
    if not numbers:
        raise DatasetError(f'{label_file}: none of the {len(times)} frames is in a range; expected seconds '
                           f'from the start of the bag, which lasts {duration_s:.3f} s')
    labels = tuple(sorted(set().union(*(timeline.labels for timeline in timelines.values()))))
    targets = tuple(labels.index(label) for label in found if label is not None)
    names = tuple(f'{topic} at {time / 1e9:.3f} s' for topic, time in (times[number] for number in numbers))

    def read(indices: Sequence[int]) -> Iterator[object]:
        wanted = {numbers[i] for i in indices}
        with Bag(path) as bag:
            yield from (_message(item) for item in bag.messages(timelines) if item.number in wanted)

    outside = len(times) - len(numbers)
    left_out = {'frames outside every range': outside} if outside else {}
    return LabeledDataset(path, '', labels, names, targets, left_out, read)


def _message(item: BagMessage) -> object:
    try:
        return item.message
    except BagError as error:
        return FrameError(DropReason.BAD_FORMAT, str(error))
