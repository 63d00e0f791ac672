# SPDX-License-Identifier: Apache-2.0
"""A labeled bag: its frames, and `<bag>.labels.yaml` beside it."""

from collections.abc import Container, Iterator
from pathlib import Path

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.kinds import IMAGE_TYPES
from shufflenet_ros.bags.reader import Bag, BagMessage
from shufflenet_ros.core.reasons import DropReason, FrameError
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.label_file import label_file_of, read_label_file
from shufflenet_ros.datasets.labeled_dataset import LabeledDataset, Sample


class BagDataset(LabeledDataset):
    """The frames of a bag that its label file labels; frames outside every range are counted."""

    def __init__(self, path: Path, split: str = ''):
        """Read the label file, then the bag once to count its frames.

        Raises:
            DatasetError: a split was requested, or the label file is missing or invalid.
            BagError: the bag is damaged.
        """
        if split:
            raise DatasetError(f'{path}: no split {split}: a labeled bag has no splits; leave the split out')
        with Bag(path) as bag:
            topics = [topic.name for topic in bag.topics if topic.type in IMAGE_TYPES]
            label_file, duration_s = label_file_of(path), (bag.end_ns - bag.start_ns) / 1e9
            self._timelines = read_label_file(label_file, topics, duration_s)
            frames = [(self._label(bag, item), _name(bag, item)) for item in bag.messages(self._timelines)]
        self.path, self.split = path, ''
        self.labels = tuple(sorted(set().union(*(t.labels for t in self._timelines.values()))))
        index = {label: i for i, label in enumerate(self.labels)}
        self.targets = tuple(index[label] for label, _ in frames if label is not None)
        self.names = tuple(name for label, name in frames if label is not None)
        if not self.count:
            raise DatasetError(f'{label_file}: none of the {len(frames)} frames is in a range; expected '
                               f'seconds from the start of the bag, which lasts {duration_s:.3f} s')
        outside = len(frames) - self.count
        self.left_out = {'frames outside every range': outside} if outside else {}

    def _label(self, bag: Bag, item: BagMessage) -> str | None:
        return self._timelines[item.topic].label_at(item.log_ns - bag.start_ns)

    def samples_at(self, indices: Container[int]) -> Iterator[Sample]:
        """See LabeledDataset."""
        with Bag(self.path) as bag:
            labeled = (item for item in bag.messages(self._timelines) if self._label(bag, item) is not None)
            for i, item in enumerate(labeled):
                if i in indices:
                    yield Sample(self.names[i], self.targets[i], _message(item))


def _name(bag: Bag, item: BagMessage) -> str:
    return f'{item.topic} at {(item.log_ns - bag.start_ns) / 1e9:.3f} s'


def _message(item: BagMessage) -> object:
    try:
        return item.message
    except BagError as error:
        return FrameError(DropReason.BAD_FORMAT, str(error))
