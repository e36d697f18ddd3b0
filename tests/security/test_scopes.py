"""What tokens may call: one table for all built-in methods."""

from __future__ import annotations

import pytest

import trionet.templates.comm
import trionet.templates.gossip
import trionet.templates.groups
import trionet.templates.routes
import trionet.templates.settings
import trionet.templates.status
from trionet.message import BUILT_IN
from trionet.security.refusals import RequestRefused
from trionet.security.scopes import check_method, needed_scope
from trionet.security.token_scope import Scope
from trionet.security.tokens import Token
from trionet.services.call_inspection import CallInspection
from trionet.services.comm import Comm
from trionet.services.diagnosis import Diagnosis
from trionet.services.gossip import Gossip
from trionet.services.group_inspection import GroupInspection
from trionet.services.groups import Groups
from trionet.services.inspection import Inspection
from trionet.services.kept import Kept
from trionet.services.keys import Keys
from trionet.services.marks import Mark, mark_of
from trionet.services.membership import Membership
from trionet.services.method_inspection import MethodInspection
from trionet.services.routes import Routes
from trionet.services.rumor_inspection import RumorInspection
from trionet.services.sight import SightInspection
from trionet.services.status import Status

SERVICES: dict[str, tuple[type, ...]] = {
    "status": (Status, trionet.templates.status.GroupStatus),
    "groups": (Groups, trionet.templates.groups.GroupGroups),
    "routes": (Routes, trionet.templates.routes.GroupRoutes),
    "comm": (Comm, trionet.templates.comm.GroupComm),
    "diagnosis": (Diagnosis,),
    "gossip": (Gossip, trionet.templates.gossip.GroupGossip),
    "inspection": (Inspection, CallInspection, GroupInspection, MethodInspection, RumorInspection, SightInspection),
    "membership": (Membership,),
    "settings": (trionet.templates.settings.GroupSettings,),
    "kept": (Kept,),
    "keys": (Keys,),
}
NODES = None
NEEDED: dict[str, dict[str, Scope | None]] = {
    "status": {"get": Scope.READ, "stop": Scope.ADMIN, "spawn": Scope.ADMIN, "reload": Scope.ADMIN},
    "groups": {
        "get": Scope.READ,
        "describe": Scope.READ,
        "put": Scope.ADMIN,
        "add": Scope.ADMIN,
        "rem": Scope.ADMIN,
        "del": Scope.ADMIN,
    },
    "routes": {"get": Scope.READ, "put": Scope.ADMIN, "put_template": Scope.ADMIN, "rem": Scope.ADMIN},
    "comm": {"send": Scope.CALL, "stream": Scope.CALL},
    "gossip": {"tasks": Scope.READ, "send": Scope.CALL, "at": Scope.CALL, "del": Scope.CALL},
    "diagnosis": {
        "survey": Scope.READ,
        "examine": Scope.READ,
        "overview": Scope.READ,
        "figures": Scope.READ,
    },
    "inspection": {
        "members": Scope.READ,
        "calls": Scope.READ,
        "report_calls": Scope.READ,
        "cancel_call": Scope.ADMIN,
        "cancel_own_calls": Scope.ADMIN,
        **dict.fromkeys(("config", "events", "groups", "logs", "services", "spread", "statistics"), Scope.READ),
        **dict.fromkeys(("status", "tags", "watch_events", "watch_logs"), Scope.READ),
        **dict.fromkeys(("arrival", "group", "group_digests", "methods", "rumors"), Scope.READ),
        **dict.fromkeys(("glance", "portrait"), Scope.READ),
    },
    "membership": {
        "members": Scope.READ,
        "join": Scope.ADMIN,
        "leave": Scope.ADMIN,
        "set_tags": Scope.ADMIN,
        "forget": Scope.ADMIN,
        "packet": NODES,
        "unreachable": NODES,
    },
    "settings": {
        "get": Scope.READ,
        "items": Scope.READ,
        "wait": Scope.READ,
        "put": Scope.CALL,
        "del": Scope.CALL,
    },
    "kept": {"keep": NODES, "held": NODES, "end": NODES, "remove": NODES},
    "keys": {
        "status": Scope.ADMIN,
        "use": Scope.ADMIN,
        "retire": Scope.ADMIN,
        "reload": Scope.ADMIN,
        "rollout": Scope.ADMIN,
        "take_step": NODES,
        "exchange": NODES,
        "give": NODES,
    },
}


def marks_of(service: str) -> dict[str, set[bool]]:
    """Return, by name, whether the methods of a built-in service are marked as ones that only read."""
    found = dict[str, set[bool]]()
    for kind in SERVICES[service]:
        marks: list[Mark | None] = [mark_of(member) for member in vars(kind).values()]
        for mark in marks:
            if mark is not None:
                found.setdefault(mark.name, set()).add(mark.read)
    return found


def token(scope: Scope) -> Token:
    return Token("1a2b3c4d", bytes(4), "trionet", scope, 0, 1)


def test_the_table_has_all_built_in_services() -> None:
    assert SERVICES.keys() == NEEDED.keys() == BUILT_IN


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_each_built_in_method_needs_a_decided_scope(service: str) -> None:
    decided = {
        method: {needed_scope(service, method, is_read=is_read) for is_read in reads}
        for method, reads in marks_of(service).items()
    }
    assert decided == {method: {scope} for method, scope in NEEDED[service].items()}


def test_a_users_method_needs_read_or_call() -> None:
    assert needed_scope("counter", "stop", is_read=True) is Scope.READ
    assert needed_scope("counter", "stop") is Scope.CALL


def test_marked_as_read_a_method_of_the_table_still_needs_its_scope() -> None:
    assert needed_scope("status", "stop", is_read=True) is Scope.ADMIN
    assert needed_scope("kept", "held", is_read=True) is NODES


def test_all_methods_of_keys_need_admin() -> None:
    assert needed_scope("keys", "status", is_read=True) is needed_scope("keys", "retire") is Scope.ADMIN


def test_a_greater_scope_includes_the_smaller_ones() -> None:
    for scope in Scope:
        for needed, call in (
            (Scope.READ, ("status", "get", True)),
            (Scope.CALL, ("counter", "add", False)),
            (Scope.ADMIN, ("status", "stop", False)),
        ):
            service, method, is_read = call
            if scope >= needed:
                check_method(token(scope), service, method, is_read=is_read)
            else:
                with pytest.raises(RequestRefused, match=f"scope {needed.name.lower()}") as caught:
                    check_method(token(scope), service, method, is_read=is_read)
                assert caught.value.status == 403
                assert caught.value.reason.startswith("token 1a2b3c4d has the scope")


def test_no_token_is_enough_for_calls_between_nodes() -> None:
    with pytest.raises(RequestRefused, match="for nodes of the cluster only") as caught:
        check_method(token(Scope.ADMIN), "membership", "packet")
    assert caught.value.status == 403
