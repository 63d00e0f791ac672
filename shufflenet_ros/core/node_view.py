# SPDX-License-Identifier: Apache-2.0
"""What an observer of the node knows at one moment. Texts come from the network as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class StatusView:
    """One status of /diagnostics. The level is 0 OK, 1 WARN, 2 ERROR, 3 STALE."""

    level: int
    message: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class CameraView:
    """One camera: its name ('' for a single one), labels and scores, best first, its last image's age."""

    name: str
    status: StatusView
    frame_id: str = ''
    labels: tuple[tuple[str, float], ...] = ()
    image_age_s: float | None = None


@dataclass(frozen=True)
class NodeView:
    """The node. `status` is None before its first; `silence` says for how long nothing has come, else ''."""

    name: str
    status: StatusView | None
    silence: str
    cameras: tuple[CameraView, ...]


class ViewSource(Protocol):
    """Where a page gets what it shows. All methods may be called in any thread."""

    def view(self) -> NodeView:
        """The present view."""

    def image(self, camera: str, shown: int) -> tuple[int, bytes] | None:
        """Number and JPEG of the camera's latest image; None without one, or if it is number `shown`."""

    def set_active(self, active: bool) -> None:
        """Whether somebody looks: only then are images and labels received."""
