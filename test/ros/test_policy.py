# SPDX-License-Identifier: Apache-2.0
"""config/sros2_policy.xml allows what the running node does and nothing else; the bond is part of that."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from in_process import unspun_node
from rclpy.parameter import Parameter
from replaying import ROOT, wait_for
from std_msgs.msg import String

from shufflenet_ros.ros import bond
from shufflenet_ros.ros.node import SUCCESS

POLICY = ROOT / 'config' / 'sros2_policy.xml'
# Element -> the elements in it, and its attributes; as in sros2's schema, without actions.
STRUCTURE = {
    'policy': ({'enclaves'}, {'version'}), 'enclaves': ({'enclave'}, set()),
    'enclave': ({'profiles'}, {'path'}), 'profiles': ({'profile'}, set()),
    'profile': ({'topics', 'services'}, {'ns', 'node'}), 'topics': ({'topic'}, {'publish', 'subscribe'}),
    'services': ({'service'}, {'reply', 'request'}), 'topic': (set(), set()), 'service': (set(), set())}


class BondStandIn:
    """In place of bondpy's Bond, which is not on pip: the same members and endpoints, but no state."""

    def __init__(self, node: Any, topic: str, bond_id: str) -> None:
        self.node, self.topic, self.id = node, topic, bond_id
        self.pub = node.create_publisher(String, topic, 1)
        self.started = self.ended = False

    def start(self) -> None:
        self.sub = self.node.create_subscription(String, self.topic, lambda message: None, 1)
        self.started = True

    def shutdown(self) -> None:
        self.sub.destroy()
        self.pub.destroy()
        self.ended = True


@pytest.fixture
def bonds(monkeypatch) -> list[BondStandIn]:
    """The bonds that a node makes."""
    made: list[BondStandIn] = []
    monkeypatch.setattr(bond, 'Bond', lambda *arguments: made.append(BondStandIn(*arguments)) or made[-1])
    return made


def allowed() -> set[tuple[str, str]]:
    """(what, full name) of everything that the policy allows."""
    profile, = ElementTree.parse(POLICY).iter('profile')
    name = f'{profile.get("ns").rstrip("/")}/{profile.get("node")}'
    return {(what, entry.text.replace('~', name, 1)) for group in profile for entry in group
            for what, value in group.items() if value == 'ALLOW'}


def used(node: Any) -> set[tuple[str, str]]:
    """(what, full name) of everything that the graph shows of the node."""
    where = node.get_name(), node.get_namespace()
    assert node.get_client_names_and_types_by_node(*where) == []
    return {(what, name) for what, listed in (
        ('publish', node.get_publisher_names_and_types_by_node),
        ('subscribe', node.get_subscriber_names_and_types_by_node),
        ('reply', node.get_service_names_and_types_by_node)) for name, _ in listed(*where)}


def test_the_policy_is_what_the_node_does(context, model, bonds):
    found: set[tuple[str, str]] = set()
    # A name of its own: of two nodes with the same name, the graph may show one that has ended.
    with unspun_node(context, '-r', 'image_raw:=/camera/image_raw', name='only_here', model=model,
                     use_sim_time=True) as node:
        for transport, suffix in (('raw', ''), ('compressed', '/compressed')):
            assert node.set_parameters([Parameter('image_transport', value=transport)])[0].successful
            assert node.trigger_configure() == node.trigger_activate() == SUCCESS
            expected = {('subscribe', '/bond'), ('subscribe', f'/camera/image_raw{suffix}')}
            wait_for(lambda expected=expected: expected <= used(node), 'the graph')
            found |= used(node)
            assert node.trigger_deactivate() == node.trigger_cleanup() == SUCCESS
    humble = {('reply', '/shufflenet/get_type_description')}  # which does not have it yet
    found = {(what, name.replace('/only_here/', '/shufflenet/')) for what, name in found}
    assert found | humble == allowed()


def test_the_policy_has_the_form_that_sros2_expects():
    root = ElementTree.parse(POLICY).getroot()
    assert (root.tag, root.attrib) == ('policy', {'version': '0.2.0'})
    for element in root.iter():
        children, attributes = STRUCTURE[element.tag]
        assert {child.tag for child in element} <= children and set(element.attrib) <= attributes
        assert (len(element) > 0) == bool(children), element.tag
        assert element.tag not in ('topics', 'services') or set(element.attrib.values()) == {'ALLOW'}


def test_sros2_loads_the_policy():
    """It checks the file by its schema."""
    pytest.importorskip('sros2.policy', reason='needs sros2, which is not on pip').load_policy(POLICY)


def test_a_bond_lasts_while_the_node_is_active(context, model, bonds):
    with unspun_node(context, '-r', '__ns:=/robot1', model=model) as node:
        assert node.trigger_configure() == SUCCESS and bonds == []
        for count in (1, 2):
            before = len(list(node.subscriptions)), len(list(node.publishers))
            assert node.trigger_activate() == SUCCESS and len(bonds) == count
            made = bonds[-1]
            assert (made.id, made.pub.topic_name) == ('shufflenet', '/robot1/bond')
            assert made.started and made.heartbeat_period < made.heartbeat_timeout == 4.0
            assert node.trigger_deactivate() == SUCCESS and made.ended
            assert (len(list(node.subscriptions)), len(list(node.publishers))) == before
        assert node.trigger_activate() == SUCCESS
    assert [made.ended for made in bonds] == [True] * 3, 'also when the process ends'


def test_there_is_no_bond_without_the_parameter_or_without_bondpy(context, model, bonds, monkeypatch):
    with unspun_node(context, model=model, bond=False) as node:
        assert node.trigger_configure() == node.trigger_activate() == SUCCESS
    assert bonds == []
    monkeypatch.setattr(bond, 'Bond', None)
    with unspun_node(context, model=model) as node:
        assert node.trigger_configure() == node.trigger_activate() == SUCCESS
        assert not any(publisher.topic_name == '/bond' for publisher in node.publishers)
    assert 'bondpy' not in sys.modules
