"""The keys of one node at one time: those of its key file, for its cluster.

Invariant: they don't change; a node whose keys change gets another `NodeKeys`, by its `LiveKeys`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from .holds_secrets import ImmutableSecrets
from .key_entries import KeyFile
from .key_file import is_there, read_keys
from .key_statements import KeyState, rank
from .keys import DerivedKeys, derive
from .rollout import STEPS, Rollout, rollout_named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trionet.config import NodeConfig
    from trionet.protocols.link.channel import LinkKey

    from .datagram_keys import DatagramKeys
    from .tokens import TokenVerifier

__all__ = ["NodeKeys"]


class NodeKeys(ImmutableSecrets):
    """The keys of one node.

    Attributes:
        cluster: the name of its cluster.
        file: what its key file holds.
        path: the path of that file, in which changes are kept; None without one.
        giver: the name of the node that gave them, its spawner, and gives those of that time at each start; empty if
            that is not known; None without one.
        sealing: the keys that seal, derived.
        opening: the keys that open, derived, by key id. The sealing ones are among them, and those that are retired and
            not yet forgotten: members that have not heard of it seal with these.
    """

    __slots__ = ("cluster", "file", "giver", "opening", "path", "sealing")

    cluster: str
    file: KeyFile
    path: str | None
    giver: str | None
    sealing: DerivedKeys
    opening: Mapping[bytes, DerivedKeys]

    def __new__(cls, file: KeyFile, cluster: str, *, path: str | None = None, giver: str | None = None) -> Self:
        """Derive the keys of `file` for the cluster of this name.

        Raises:
            ConfigError: `cluster` is no name.
        """
        keys = [entry.key for entry in file.entries if entry.key is not None]
        opening = {key.id: derive(key, cluster) for key in keys}
        sealing = opening[file.sealing_key.id]
        return cls._holding(
            {
                "cluster": cluster,
                "file": file,
                "path": path,
                "giver": giver,
                "sealing": sealing,
                "opening": opening,
            }
        )

    def replaced(self, file: KeyFile) -> NodeKeys:
        """Return the keys of a node that holds this now."""
        return NodeKeys(file, self.cluster, path=self.path, giver=self.giver)

    def given(self, giver: str) -> NodeKeys:
        """Return them as a node has them that the node `giver` spawns."""
        return NodeKeys(self.file, self.cluster, giver=giver)

    @classmethod
    def of(cls, config: NodeConfig) -> NodeKeys | None:
        """Return the keys that a configuration names; None if it names none.

        Raises:
            ConfigError: the key file can't be used; the text says why.
        """
        if config.key_file is None:
            return None
        if config.accept == "plain" and not is_there(config.key_file):
            return None  # it comes later
        file = read_keys(config.key_file, {})
        assert file is not None
        return cls.of_file(file, config)

    @classmethod
    def of_file(cls, file: KeyFile, config: NodeConfig) -> NodeKeys:
        """Return the keys of a node with this configuration and key file: a rollout goes on where the file has it."""
        if file.rollout is None and (begun := rollout_named(config.accept, config.send)) not in (None, STEPS[-1]):
            # With a key a node can accept what is sealed, and needs nobody's consent for it.
            file = KeyFile(file.entries, file.members, begun if begun != STEPS[0] else STEPS[1])
        return cls(file, config.cluster, path=config.key_file)

    @property
    def rollout(self) -> Rollout:
        """What the node accepts and sends."""
        return self.file.rollout or STEPS[-1]

    def __repr__(self) -> str:
        return f"<NodeKeys of {self.cluster!r}: {', '.join(key_id.hex() for key_id in self.opening)}>"

    def link_keys(self, random_bytes: Callable[[int], bytes]) -> list[LinkKey]:
        """Return the keys of links, the best for connections that this node makes first; the retired ones come last.

        Args:
            random_bytes: returns so many bytes that nobody can foresee, as `secrets.token_bytes` does.
        """
        from .noise_key import NoiseKey

        statements = {entry.id: entry.statement for entry in self.file.entries}
        retired = self.retired

        def order(derived: DerivedKeys) -> tuple[bool, tuple[int, int, bytes]]:
            return derived.key_id not in retired, rank(statements[derived.key_id])

        return [NoiseKey.of(one, random_bytes) for one in sorted(self.opening.values(), key=order, reverse=True)]

    def datagram_keys(self) -> DatagramKeys:
        """Return the keys of datagrams."""
        from .datagram_keys import DatagramKeys

        return DatagramKeys.of(self.opening.values(), self.sealing.key_id)

    def token_verifier(self) -> TokenVerifier:
        """Return the verifier of bearer tokens. Those of a key end when it is retired."""
        from .tokens import TokenVerifier

        retired = self.retired
        valid = {key_id: keys for key_id, keys in self.opening.items() if key_id not in retired}
        return TokenVerifier(self.cluster, valid, retired)

    @property
    def retired(self) -> frozenset[bytes]:
        """The ids of retired keys, for the reasons of refusals."""
        return frozenset(entry.id for entry in self.file.entries if entry.state is KeyState.RETIRED)
