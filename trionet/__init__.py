"""Many Trio nodes, on one machine or many, as one structured-concurrency program.

PYTEST_DONT_REWRITE: where trionet is imported before pytest starts, pytest need not warn that it would have rewritten
assertions of every package that comes with a plugin.

The names are imported with the first use of one of them: the command needs few modules, and starts in half the time.
But those that are names of modules, too, are imported at once: else the module would take their place.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .version import __version__ as __version__

with import_module(".thread_library", __name__).known_at_once():  # Trio is imported
    from .current_call import CurrentCall, current_call

if TYPE_CHECKING:
    from .call_tree import CallTree, CancelledCalls, RunningCall, WaitsFor
    from .codec import register_type
    from .config import NodeConfig
    from .declared_errors import error
    from .errors import (
        Abort,
        AddressInUse,
        CallCancelled,
        CallTimeout,
        CodeRefused,
        ConfigError,
        ConnectionLost,
        DecodeError,
        DefiniteError,
        EmptyGroup,
        EncodeError,
        GroupNotFound,
        IndefiniteError,
        KeyAlreadyExists,
        KeyDoesNotExist,
        KeyMismatch,
        MalformedRequest,
        MessageTooLarge,
        MethodNotFound,
        NodeUnreachable,
        NotFound,
        NotPermitted,
        OrphanedCalls,
        PreconditionFailed,
        RemoteError,
        ServiceNotFound,
        SIDCollision,
        SpawnError,
        TemporarilyUnavailable,
        TrionetError,
        TxnConflict,
        UnexpectedAnswer,
        UnknownKey,
    )
    from .events import (
        AddressUnreachable,
        ChildEnded,
        ChildGivenUp,
        ChildRestarted,
        Event,
        Events,
        GroupFailed,
        MemberEvent,
        MemberFailed,
        MemberForgotten,
        MemberJoined,
        MemberLeft,
        MemberSuspected,
        MemberTrusted,
        MemberUpdated,
        OrphanedCall,
        RumorFailed,
        ServiceFailed,
        SettingChanged,
        SettingConflict,
        TaskFailed,
    )
    from .figures import NodeFigures
    from .group import Group
    from .identity import NID, SID, NodeAddress
    from .launchers import Launcher, ObservedStatus
    from .launchers.ssh import SSHLauncher
    from .log_format import JSONLogFormatter
    from .message import Remote
    from .node import Node
    from .node_statistics import NodeStatistics
    from .principal import Principal
    from .replies import Aggregate, Done, Receipt, Replies, Spread
    from .running_calls import RunningCalls
    from .runtime import open_node, run, serve_node
    from .services.base import rpc
    from .services.groups import GroupDescription
    from .services.key_status import KeyInfo, KeysStatus, MemberKeys
    from .services.keys import Keys
    from .services.member import Member
    from .services.names import service
    from .services.node_calls import NodeCalls
    from .services.periodic import PeriodicTask
    from .services.routes import ServiceDescription
    from .templates.base import GroupContext, Template
    from .templates.calls import GroupCalls, GroupItems
    from .templates.mapping import Results

__all__ = [
    "NID",
    "SID",
    "Abort",
    "AddressInUse",
    "AddressUnreachable",
    "Aggregate",
    "CallCancelled",
    "CallTimeout",
    "CallTree",
    "CancelledCalls",
    "ChildEnded",
    "ChildGivenUp",
    "ChildRestarted",
    "CodeRefused",
    "ConfigError",
    "ConnectionLost",
    "CurrentCall",
    "DecodeError",
    "DefiniteError",
    "Done",
    "EmptyGroup",
    "EncodeError",
    "Event",
    "Events",
    "Group",
    "GroupCalls",
    "GroupContext",
    "GroupDescription",
    "GroupFailed",
    "GroupItems",
    "GroupNotFound",
    "IndefiniteError",
    "JSONLogFormatter",
    "KeyAlreadyExists",
    "KeyDoesNotExist",
    "KeyInfo",
    "KeyMismatch",
    "Keys",
    "KeysStatus",
    "Launcher",
    "MalformedRequest",
    "Member",
    "MemberEvent",
    "MemberFailed",
    "MemberForgotten",
    "MemberJoined",
    "MemberKeys",
    "MemberLeft",
    "MemberSuspected",
    "MemberTrusted",
    "MemberUpdated",
    "MessageTooLarge",
    "MethodNotFound",
    "Node",
    "NodeAddress",
    "NodeCalls",
    "NodeConfig",
    "NodeFigures",
    "NodeStatistics",
    "NodeUnreachable",
    "NotFound",
    "NotPermitted",
    "ObservedStatus",
    "OrphanedCall",
    "OrphanedCalls",
    "PeriodicTask",
    "PreconditionFailed",
    "Principal",
    "Receipt",
    "Remote",
    "RemoteError",
    "Replies",
    "Results",
    "RumorFailed",
    "RunningCall",
    "RunningCalls",
    "SIDCollision",
    "SSHLauncher",
    "ServiceDescription",
    "ServiceFailed",
    "ServiceNotFound",
    "SettingChanged",
    "SettingConflict",
    "SpawnError",
    "Spread",
    "TaskFailed",
    "Template",
    "TemporarilyUnavailable",
    "TrionetError",
    "TxnConflict",
    "UnexpectedAnswer",
    "UnknownKey",
    "WaitsFor",
    "current_call",
    "error",
    "open_node",
    "register_type",
    "rpc",
    "run",
    "serve_node",
    "service",
]

_HOMES: Final = (
    "call_tree",
    "codec",
    "config",
    "declared_errors",
    "errors",
    "events",
    "figures",
    "group",
    "identity",
    "launchers",
    "launchers.ssh",
    "log_format",
    "message",
    "node",
    "node_statistics",
    "principal",
    "replies",
    "running_calls",
    "runtime",
    "services.base",
    "services.groups",
    "services.key_status",
    "services.keys",
    "services.member",
    "services.names",
    "services.node_calls",
    "services.periodic",
    "services.routes",
    "templates.base",
    "templates.calls",
    "templates.mapping",
)
"""The modules that define the names."""


if not TYPE_CHECKING:  # else a checker would accept any name

    def __getattr__(name: str) -> Any:
        """Import all names, and return one."""
        if not name.startswith("_"):
            for home in _HOMES:
                module = import_module(f".{home}", __name__)
                globals().update({one: getattr(module, one) for one in module.__all__ if one in __all__})
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        """Return all names, imported or not."""
        return sorted({*globals(), *__all__})
