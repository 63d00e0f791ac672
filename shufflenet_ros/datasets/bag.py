"""A labeled bag: its frames, and `<bag>.labels.yaml` beside it."""

from collections.abc import Container, Iterator
from pathlib import Path

from shufflenet_ros.bags.errors import BagError
from shufflenet_ros.bags.kinds import IMAGE_TYPES
from shufflenet_ros.bags.reader import Bag, BagMessage
from shufflenet_ros.core.reasons import FrameError, Reason
from shufflenet_ros.datasets.errors import DatasetError
from shufflenet_ros.datasets.label_file import label_file_of, read_label_file
from shufflenet_ros.datasets.sample import Sample, spread


class BagDataset:
    """The frames of a bag that its label file names; those outside every range are counted."""

    def __init__(self, path: Path, split: str = ''):
        """Read the labels, and go through the bag once to count.

        Raises:
            DatasetError: a split was asked for, or the label file is missing or wrong.
            BagError: the bag is damaged.
        """
        if split:
            raise DatasetError(f'{path}: no split {split}: a labeled bag has none; leave the split out')
        with Bag(path) as bag:
            topics = {topic.name: topic.type in IMAGE_TYPES for topic in bag.topics}
            label_file, duration_s = label_file_of(path), (bag.end_ns - bag.start_ns) / 1e9
            self._timelines = read_label_file(label_file, topics, duration_s)
            frames = [(self._label(bag, item), _name(bag, item)) for item in bag.messages(self._timelines)]
        self.path, self.split = path, ''
        self.labels = tuple(sorted(set().union(*(t.labels for t in self._timelines.values()))))
        index = {name: i for i, name in enumerate(self.labels)}
        self.targets = tuple(index[label] for label, _ in frames if label is not None)
        self.names = tuple(name for label, name in frames if label is not None)
        self.count = len(self.targets)
        if not self.count:
            raise DatasetError(f'{label_file}: none of the {len(frames)} frames lies in a range; expected '
                           f'seconds from the start of the bag, which lasts {duration_s:.3f} s')
        outside = len(frames) - self.count
        self.left_out = {'frames outside every range': outside} if outside else {}

    def _label(self, bag: Bag, item: BagMessage) -> str | None:
        return self._timelines[item.topic].label_at(item.log_ns - bag.start_ns)

    def samples(self, limit: int = 0) -> Iterator[Sample]:
        """See LabeledDataset."""
        return self.at(spread(self.count, limit))

    def at(self, places: Container[int]) -> Iterator[Sample]:
        """See LabeledDataset."""
        place = 0
        with Bag(self.path) as bag:
            for item in bag.messages(self._timelines):
                label = self._label(bag, item)
                if label is None:
                    continue
                if place in places:
                    yield Sample(self.names[place], self.targets[place], _message(item))
                place += 1


def _name(bag: Bag, item: BagMessage) -> str:
    return f'{item.topic} at {(item.log_ns - bag.start_ns) / 1e9:.3f} s'


def _message(item: BagMessage) -> object:
    try:
        return item.message
    except BagError as error:
        return FrameError(Reason.BAD_FORMAT, str(error))
